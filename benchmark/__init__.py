"""Reattack: robustness after few-shot adaptation, with the adapted model attacked again.

Read `benchmark/protocol/group.py` first: it is the whole protocol on one page.

    benchmark/   command line, plan (names -> cells), runner, data, evaluation, contracts
    benchmark/core/   types, registry, seeding, records, store: what everything else shares
    attacks/     one file per family of attacks; strengths.toml sets their budgets per data set
    baselines/   one file per defense; networks, the training loop and the inner loop
    reports/     records -> pandas table -> scores, plots, summary

This module imports nothing, so that `attacks` and `baselines` can use `benchmark.core`
while `benchmark.protocol.cell` uses them, without a circle (tests/test_architecture.py).
"""
