"""SQLCipher of the PyPI package sqlcipher3-wheels: `encrypt <plain> <target> <profile>`, or `rekey <file> <profile>`,
which prints the milliseconds that `PRAGMA rekey` took, commit and syncs included."""

import os
import sys
import time

import sqlcipher3

ALGORITHMS = {"sqlcipher-4": "SHA512", "sqlcipher-4-sha256": "SHA256"}


def raw_key():
    """A key that is used as it is: deriving one from a passphrase takes as long for a small file as for a large one."""
    return "x'" + os.urandom(32).hex() + "'"


def settings(profile, schema=""):
    return ["PRAGMA %scipher_hmac_algorithm = HMAC_%s" % (schema, ALGORITHMS[profile])]


command, path, *rest = sys.argv[1:]
key = "x'" + "5a" * 32 + "'"
if command == "encrypt":
    target, profile = rest
    database = sqlcipher3.connect(path, isolation_level=None)
    database.execute("ATTACH '%s' AS target KEY \"%s\"" % (target, key))
    for pragma in settings(profile, "target."):
        database.execute(pragma)
    database.execute("SELECT sqlcipher_export('target')").fetchall()
    database.close()
else:
    (profile,) = rest
    database = sqlcipher3.connect(path, isolation_level=None)
    database.execute('PRAGMA key = "%s"' % key)
    for pragma in settings(profile):
        database.execute(pragma)
    database.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    started = time.perf_counter()
    database.execute('PRAGMA rekey = "%s"' % raw_key()).fetchall()
    print((time.perf_counter() - started) * 1000)
    database.close()
