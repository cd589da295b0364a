"""Backfills, planned runs of custom timetables, why a DAG is paused, who sees to a callback."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "backfill",
        sa.Column("id", row_id, autoincrement=True, nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("from_date", sa.BigInteger(), nullable=False),
        sa.Column("to_date", sa.BigInteger(), nullable=False),
        sa.Column("conf", sa.Text(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("reprocess_behavior", sa.String(length=20), nullable=False),
        sa.Column("run_backwards", sa.Boolean(), nullable=False),
        sa.Column("max_active_runs", sa.Integer(), nullable=False),
        sa.Column("next_ordinal", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dag_id"], ["dag.dag_id"], name=op.f("fk_backfill_dag_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfill")),
    )
    active = sa.text("completed_at IS NULL")
    op.create_index(
        "ix_backfill_active", "backfill", ["dag_id"], unique=True, sqlite_where=active, postgresql_where=active
    )
    op.create_table(
        "backfill_run",
        sa.Column("backfill_id", row_id, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("logical_date", sa.BigInteger(), nullable=False),
        sa.Column("data_interval_start", sa.BigInteger(), nullable=False),
        sa.Column("data_interval_end", sa.BigInteger(), nullable=False),
        sa.Column("run_after", sa.BigInteger(), nullable=False),
        sa.Column("dag_run_id", row_id, nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.ForeignKeyConstraint(
            ["backfill_id"], ["backfill.id"], name=op.f("fk_backfill_run_backfill_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("backfill_id", "ordinal", name=op.f("pk_backfill_run")),
    )
    op.create_table(
        "planned_run",
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("logical_date", sa.BigInteger(), nullable=False),
        sa.Column("data_interval_start", sa.BigInteger(), nullable=False),
        sa.Column("data_interval_end", sa.BigInteger(), nullable=False),
        sa.Column("run_after", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dag_id"], ["dag.dag_id"], name=op.f("fk_planned_run_dag_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dag_id", "logical_date", name=op.f("pk_planned_run")),
    )
    with op.batch_alter_table("dag", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pause_reason", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("plan_wanted_at", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("dag_run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("backfill_id", row_id, nullable=True))
    with op.batch_alter_table("callback_request", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claimed_until", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("tries", sa.Integer(), nullable=True))
