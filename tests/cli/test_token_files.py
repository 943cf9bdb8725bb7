"""`@FILE` in place of a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.cli.errors import InputError
from gmemsim.cli.params import token_text


def test_a_token_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("gm1:abc\n")
    assert token_text(f"@{tmp_path}/token") == token_text("@token") == "gm1:abc"
    assert token_text("gm1:abc") == "gm1:abc"
    with pytest.raises(InputError, match=r"^oken: cannot be read"):
        token_text("@oken")
