"""The keys of a server that several tests share: one of a user and one of an admin."""

USER_KEY = "key-of-ann-of-the-tests"
ADMIN_KEY = "key-of-root-of-the-tests"
