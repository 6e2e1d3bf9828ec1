"""Whose signatures count, and from when until when: OpenSSH's file of allowed signers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import InvalidProject
from lading.evidence.signers import AllowedSigner, objection, read_signers
from lading.evidence.sshsig import PublicKey

ONE, OTHER = PublicKey(bytes(32)), PublicKey(bytes([1] * 32))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
times = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=0)
)
signers = st.builds(
    AllowedSigner,
    st.binary(min_size=32, max_size=32).map(PublicKey),
    st.none() | times,
    st.none() | times,
    st.text("abc 0123@.-", max_size=20).map(str.split).map(" ".join),
    st.sampled_from(["shop", "shop,other", "*", "lake-?"]),
)


@given(listed=st.lists(signers, min_size=1, max_size=5))
def test_what_is_written_is_read_back(listed: list[AllowedSigner]) -> None:
    text = "".join(f"{signer.line()}\n" for signer in listed)
    assert read_signers(f"# those of the shop\n\n{text}", "ops/signers") == tuple(listed)


def test_a_public_key_alone_may_sign_at_any_time() -> None:
    assert read_signers(f"{ONE.line} me@here\n", "k.pub") == (
        AllowedSigner(ONE, comment="me@here", namespaces="*"),
    )


def test_keys_for_other_things_and_of_other_kinds_are_passed_over() -> None:
    text = f"""
        me namespaces="git,file" {OTHER.line}
        me ssh-rsa AAAAB3NzaC1yc2E=
        me,you namespaces="git,lading-*" {ONE.line}
    """
    assert [(signer.key, signer.principals) for signer in read_signers(text, "signers")] == [(ONE, "me,you")]
    assert read_signers("# nobody yet\n", "signers") == ()


@pytest.mark.parametrize("project", ["ssh-shop", "sk-shop", "ecdsa-sha2-nistp256"])
def test_a_project_may_be_called_like_a_kind_of_key(project: str) -> None:
    (signer,) = read_signers(AllowedSigner(ONE, NOON, principals=project).line(), "signers")
    assert signer == AllowedSigner(ONE, NOON, principals=project)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f'me namespaces="!lading-manifest,*" {ONE.line}', "!lading-manifest,* is not understood here"),
        (f'me namespaces="[l]ading-manifest" {ONE.line}', "is not understood here"),
        (f'me namespaces="git",namespaces="*" {ONE.line}', "names an option twice"),
        (f"!me,* {ONE.line}", "!me,* is not understood here"),
        (f"me {OTHER.line} a comment\f{ONE.line}", "is no public key"),
        (f"me {OTHER.line} a comment\x85{ONE.line}", "is no public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "signers:1: is no public key"),
        ("ssh-ed25519", "is no public key"),
        ("ssh-ed25519 AAAA", "a public key is no Ed25519 one"),
        (f"me cert-authority {ONE.line}", "cert-authority is not understood"),
        (f'me valid-before="20260101" {ONE.line}', '"20260101" is no time in UTC'),
        (f'me valid-before="20261301Z" {ONE.line}', '"20261301Z" is no time in UTC'),
        (f'me valid-after="20260101Z",, {ONE.line}', "is no list of options"),
        (f"me valid-after=20260101Z {ONE.line}", "is no list of options"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(line: str, told: str) -> None:
    with pytest.raises(InvalidProject, match="signers") as caught:
        read_signers(f"{line}\n", "signers")
    assert told in str(caught.value)


def test_a_key_counts_from_its_beginning_until_its_end() -> None:
    hour = timedelta(hours=1)
    listed = [AllowedSigner(ONE, NOON, NOON + hour), AllowedSigner(ONE, NOON + 2 * hour)]
    for at in (NOON, NOON + hour / 2, NOON + 2 * hour, NOON + 99 * hour):
        assert objection(listed, ONE, "shop", at) is None
    for at in (NOON - hour, NOON + hour):
        told = objection(listed, ONE, "shop", at)
        assert told is not None
        assert "may not have signed at" in told
    told = objection(listed, OTHER, "shop", NOON)
    assert told is not None
    assert "none of the trusted keys" in told


def test_a_key_counts_for_the_projects_that_its_line_names() -> None:
    listed = [AllowedSigner(ONE, principals="shop,lake-*"), AllowedSigner(OTHER, principals="other")]
    assert objection(listed, ONE, "shop", NOON) is None
    assert objection(listed, ONE, "lake-1", NOON) is None
    for key, project in ((ONE, "other"), (OTHER, "shop"), (ONE, "shops")):
        told = objection(listed, key, project, NOON)
        assert told is not None
        assert f"may not sign for the project {project}" in told
