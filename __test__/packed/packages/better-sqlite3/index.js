module.exports = require('@nimbus/storage/better-sqlite3')
