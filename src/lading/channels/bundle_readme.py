"""The README of a bundle: for people, plain ASCII, and no longer than it takes to check and open what they got."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.errors import counted
from lading.evidence.sshsig import MANIFESTS

_UNIX, _MAC, _WINDOWS = "Linux", "macOS", "Windows"


def readme(manifest: Mapping[str, Any], name: str, signature: Mapping[str, str], sealed: str) -> str:
    """``name``: of the ZIP file. ``sealed``: the suffix of what it is encrypted as, or nothing."""
    contract, interval = manifest["contract"], manifest["interval"]
    folder = name.removesuffix(".zip")
    told = [
        f"{contract['name']}, version {contract['version']}",
        "",
        f"For       {_plain(manifest['tenant'])}",
        f"From      {_plain(manifest['project'])}, environment {_plain(manifest['environment'])}",
        f"Interval  {interval['start']} up to, not including, {interval['end']}",
        f"Holds     {counted(int(manifest['rows']['written']), 'row')} in "
        f"{counted(len(manifest['files']), 'file')} below data/",
        f"Made      {manifest['export_timestamp']}",
        f"Run       {manifest['run_id']}, revision {manifest['revision']}",
        *_replaces(manifest),
        "",
        "  data/          the rows",
        "  openapi.json   what the columns are (OpenAPI 3.1, JSON Schema)",
        "  samples/       payloads that show the shape; their values are made up",
        "  manifest.json  what was read, left out, checked and written, with the SHA-256 of every file",
        "  delivery.json  the delivery in five fields",
        "",
        "1. Open",
        "",
        *_opened(name, folder, sealed),
        "",
        "2. Check that nothing was changed, in the folder that was unpacked",
        "",
        f"  {_UNIX:8} sha256sum --check SHA256SUMS",
        f"  {_MAC:8} shasum -a 256 --check SHA256SUMS",
        f"  {_WINDOWS:8} (PowerShell; it names what was changed, and nothing else)",
        "           Get-Content SHA256SUMS | % { $s, $f = $_ -split '  ', 2; "
        "if ((Get-FileHash -LiteralPath $f).Hash -ne $s) { $f } }",
        "",
        "3. Check whom it is from",
        "",
        *_signed(manifest, signature),
        "",
        "All of it at once, where Lading is installed:",
        "",
        f"  {_proven(name, signature, sealed)}",
        "",
    ]
    return "\n".join(told)


def _plain(text: object) -> str:
    """On one line, in characters that every editor shows."""
    return str(text).encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")


def _replaces(manifest: Mapping[str, Any]) -> list[str]:
    if manifest["kind"] == "addition":
        return ["Kind      an addition: these rows came late, and belong beside those delivered before"]
    replaced = ", ".join(manifest["supersedes"])
    return [f"Replaces  {replaced}"] if replaced else []


def _opened(name: str, folder: str, sealed: str) -> list[str]:
    first = [f"  any      age --decrypt --identity KEY --output {name} {name}.{sealed}"] if sealed else []
    return [
        *first,
        f"  {_UNIX:8} unzip {name} -d {folder}",
        f"  {_MAC:8} unzip {name} -d {folder}",
        f"  {_WINDOWS:8} Expand-Archive {name} {folder}",
    ]


def _proven(name: str, signature: Mapping[str, str], sealed: str) -> str:
    opened = f"{name}.{sealed} --deep --tenant-key KEY" if sealed else f"{name} --deep"
    return f"lading verify {opened}" + (" --key signers" if signature["type"] != "none" else "")


def _signed(manifest: Mapping[str, Any], signature: Mapping[str, str]) -> list[str]:
    if signature["type"] == "none":
        return [
            "  It is not signed: SHA256SUMS shows that nothing was damaged, and not who made it.",
        ]
    return [
        "  ssh-keygen -Y verify -f signers "
        f"-I {_plain(manifest['project'])} -n {MANIFESTS} -s manifest.json.sig < manifest.json",
        "  grep -c $(sha256sum SHA256SUMS | cut -c1-64) manifest.json",
        "",
        "  signers is the sender's list of keys, which you must have by another way than this file. What is signed",
        "  is the manifest; that the second command prints 1 shows that it goes for SHA256SUMS. (macOS: shasum -a 256",
        f"  for sha256sum. Windows: the first command in cmd.exe.) The key is {signature['key']}.",
    ]
