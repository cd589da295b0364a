"""Signed tokens: who holds one may do one thing, for a while. The only user of PyJWT."""
