"""What each process runs with, and how far its clock is from the database's."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for table in ("scheduler", "component"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("declared", sa.Text(), nullable=True))
            batch_op.add_column(sa.Column("clock_offset", sa.BigInteger(), nullable=True))
