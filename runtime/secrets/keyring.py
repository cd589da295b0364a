"""The keys that connections and variables are stored under: Fernet, the newest first, older ones to read with."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.errors import ConfigError
from runtime.secrets.errors import SecretsError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

KEY_FILE = "fernet.key"
_MAKE = "`python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"


class Keyring:
    """Thread-safe. Nothing is read, made or imported before the first use.

    :param home: where ``fernet.key`` lies where no key is configured; made, for this user
        only, by the first encryption.
    :param configured: ``[core] fernet_key``: one key or several with commas, the first one encrypts.
    """

    def __init__(self, home: Path, configured: str = "") -> None:
        self._path = home / KEY_FILE
        self._configured = configured
        self._cipher: MultiFernet | None = None

    def __repr__(self) -> str:
        return f"<Keyring {'configured' if self._configured else self._path}>"

    @property
    def is_configured(self) -> bool:
        return bool(self._configured)

    def encrypt(self, text: str) -> str:
        """Raises :class:`ConfigError` for a bad key, :class:`SecretsError` where its file cannot be used."""
        return self._load(create=True).encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Raises :class:`SecretsError` where none of the keys fits, and what :meth:`encrypt` raises."""
        from cryptography.fernet import InvalidToken

        for fresh in (False, True):
            if fresh:
                if self._configured:
                    break
                self._cipher = None  # somebody may have put a new key into the file
            with contextlib.suppress(InvalidToken):
                return self._load(create=False).decrypt(token.encode()).decode()
        raise SecretsError(f"it was stored under another Fernet key than those of {self._place()}; put that one back")

    def rotate(self, token: str) -> str:
        """The same text under the newest key. Raises what :meth:`decrypt` raises."""
        return self.encrypt(self.decrypt(token))

    def add_key(self) -> None:
        """Put a new key before those of the file. Raises :class:`SecretsError`."""
        from cryptography.fernet import Fernet

        assert not self._configured
        with self._alone():
            known = self._read() or ""
            draft = self._draft("\n".join([Fernet.generate_key().decode(), *known.split()]))
            os.replace(draft, self._path)
        self._cipher = None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of two that add a key each reads what the other has written: a key that is in use must not get lost."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _load(self, *, create: bool) -> MultiFernet:
        cipher = self._cipher
        if cipher is None:
            cipher = self._cipher = self._open(self._configured or self._read() or (self._create() if create else ""))
        return cipher

    def _open(self, text: str) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        found = []
        for number, key in enumerate(text.replace(",", " ").split(), 1):
            try:
                found.append(Fernet(key))
            except ValueError:
                raise ConfigError(
                    f"{self._place()}: key {number} is no Fernet key, 32 bytes in base64; make one with {_MAKE}"
                ) from None
        if not found:
            raise SecretsError(f"there is no Fernet key in {self._place()}; put back the one that was used")
        return MultiFernet(found)

    def _place(self) -> str:
        return "[core] fernet_key" if self._configured else str(self._path)

    def _read(self) -> str | None:
        try:
            return self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise SecretsError(f"the Fernet key {self._path} cannot be read: {reason}") from None

    def _create(self) -> str:
        """Of two processes that begin together one wins, and both read its key."""
        from cryptography.fernet import Fernet

        draft = self._draft(Fernet.generate_key().decode())
        try:
            with contextlib.suppress(FileExistsError):
                os.link(draft, self._path)
        finally:
            os.unlink(draft)
        return self._read() or ""

    def _draft(self, text: str) -> Path:
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise SecretsError(f"the Fernet key {self._path} cannot be written: {error.strerror}") from None
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        return draft
