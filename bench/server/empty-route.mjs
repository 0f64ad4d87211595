/** The floor under every request: a Fastify route that does nothing. */
import fastify from 'fastify'

const app = fastify()
app.get('/', () => '')
await app.listen({ host: '127.0.0.1', port: 0 })
console.log(`listening on http://127.0.0.1:${app.server.address().port}`)
process.once('SIGTERM', () => app.close())
