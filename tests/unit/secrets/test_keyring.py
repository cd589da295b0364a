"""The keys: made once for this user, several to read with, and a bad one is a line without the key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.fernet import Fernet

from runtime.core.errors import ConfigError
from runtime.secrets.errors import SecretsError
from runtime.secrets.keyring import KEY_FILE, Keyring

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_a_key_is_made_by_the_first_encryption_and_only_its_owner_can_read_it(tmp_path):
    one, other = Keyring(tmp_path), Keyring(tmp_path)
    token = one.encrypt("text")
    assert "text" not in token
    assert other.decrypt(token) == "text"
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEY_FILE]


def test_reading_makes_no_key(tmp_path):
    with pytest.raises(SecretsError, match="there is no Fernet key in"):
        Keyring(tmp_path).decrypt(Fernet(OLD).encrypt(b"x").decode())
    assert not list(tmp_path.iterdir())


def test_of_several_keys_the_first_encrypts_and_all_decrypt(tmp_path):
    before = Keyring(tmp_path, OLD).encrypt("text")
    both = Keyring(tmp_path, f"{NEW}, {OLD}")
    assert both.decrypt(before) == "text"
    assert Keyring(tmp_path, NEW).decrypt(both.rotate(before)) == "text"
    with pytest.raises(SecretsError, match=r"another Fernet key than those of \[core\] fernet_key"):
        Keyring(tmp_path, NEW).decrypt(before)


def test_a_process_that_runs_sees_a_key_that_was_added_to_the_file(tmp_path):
    running, other = Keyring(tmp_path), Keyring(tmp_path)
    before = running.encrypt("old")
    other.add_key()
    assert running.decrypt(other.encrypt("new")) == "new"
    assert running.decrypt(before) == "old"


@pytest.mark.parametrize("key", ["CANARY", f"{OLD},CANARY", "CANARY" * 10], ids=["word", "second", "long"])
def test_a_bad_key_is_not_quoted(tmp_path, key):
    with pytest.raises(ConfigError, match=r"\[core\] fernet_key: key \d is no Fernet key") as raised:
        Keyring(tmp_path, key).encrypt("x")
    assert "CANARY" not in str(raised.value)
    assert key not in repr(Keyring(tmp_path, key))


def test_of_many_that_add_a_key_at_once_none_is_lost(tmp_path):
    """A key that is in use must stay: what it has encrypted could never be read again."""
    token = Keyring(tmp_path).encrypt("x")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Keyring(tmp_path).add_key(), range(16)))
    assert Keyring(tmp_path).decrypt(token) == "x"
    assert len((tmp_path / "fernet.key").read_text().replace("\n", ",").strip(",").split(",")) == 17
