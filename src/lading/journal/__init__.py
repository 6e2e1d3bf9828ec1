"""The journal: claims, what was opened, prepared commits, seals, and what was published.

It is a store of Lading's own and the truth about runs, since destinations may be write-only. Everything in it is
written once by create-if-absent. `docs/commit-protocol.md` says why that is enough.

::

    sweeps/<export>/<interval start>/a0001/
        claim.json            who is at work, on which runs, with which interval and bound
        beat/000001           the owner's heartbeats
        opened/0001.json      folders that are about to be written to, announced before the first byte
        parts/0000.json       of a part that can be read again: its rows, and the files that hold it
        runs/<tenant>.json    one prepared commit: all that publishing needs, resolved. Binding once the seal names it
        end.json              the seal: sealed (names the commits), failed, or abandoned. One create, one winner
        cleaned.json          an unsealed attempt's folders are emptied
        orphans.json          folders that could not be: the destination allows no deleting
        published/<tenant>.json
                              of the major beside the export's own: runs/ and published/<major>/<tenant>.json
        done.json             every run of the seal is published
    late/<export>/<major>/<bound>
                              late rows were looked for up to here
    audit/00000001.json       the audit chain: what was approved, and what that was used for
    contracts/<name>/<major>/<channel>/
        0001.json             a step in the life of a contract's version (`lives`)
        acknowledged/<consumer>.json
    chain/<export>/<tenant>/00000001.json
                              an audit package's number, what it follows, and its checkpoint
    expired/<export>/<run>/   begun: `keep` is removing this delivery; gone: nothing of it is left
"""
