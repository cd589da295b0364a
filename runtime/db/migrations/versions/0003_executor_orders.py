"""Standing orders for executors, and which of them each scheduler follows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "executor_order",
        sa.Column("id", row_id, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("mode", sa.String(length=20), nullable=False),
        sa.Column("parallelism", sa.Integer(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=250), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executor_order")),
    )
    with op.batch_alter_table("executor_status", schema=None) as batch_op:
        batch_op.add_column(sa.Column("order_id", row_id, nullable=True))
