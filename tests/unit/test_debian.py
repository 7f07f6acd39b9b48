"""What is to be had from Debian alone is never skipped: without it, an error says what to install."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.debian import MissingError, ensure


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "brokerd").write_text("#!/bin/sh\n")
    (tmp_path / "brokerd").chmod(0o755)

    with pytest.raises(MissingError, match="there is no baserd on this machine") as caught:
        ensure({"brokerd": "broker", "baserd": "baser baser-common"})

    assert "apt-get install baser baser-common\n" in str(caught.value)
    assert ensure({"brokerd": "broker"}) == {"brokerd": tmp_path / "brokerd"}
