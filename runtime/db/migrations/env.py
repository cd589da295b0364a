"""Alembic's entry: runs the migrations on the connection that :mod:`runtime.db.migrate` opened."""

from alembic import context

from runtime.db.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
