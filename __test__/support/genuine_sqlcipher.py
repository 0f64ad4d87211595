"""Runs statements on genuine SQLCipher (the PyPI package sqlcipher3-wheels). stdin: {path, key, pragmas, statements}."""

import json
import sys

import sqlcipher3

job = json.load(sys.stdin)
database = sqlcipher3.connect(job["path"], isolation_level=None)
database.execute('PRAGMA key = "%s"' % job["key"])
for pragma in job["pragmas"]:
    database.execute("PRAGMA " + pragma)
answers = [database.execute(sql, parameters).fetchall() for sql, parameters in job["statements"]]
database.close()
json.dump(answers, sys.stdout)
