"""The pack's nodes, one file each: schema, validation, progress, saving."""
