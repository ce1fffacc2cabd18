"""What every part shares: types, specs, registry, seeding, records, store. Imports nothing."""
