"""The metadata DB: the only package that imports SQLAlchemy. Everything above it speaks of rows it hands out."""
