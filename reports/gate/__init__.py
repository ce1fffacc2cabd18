"""The gate of CI: a baseline, a judgement, and its pages."""
