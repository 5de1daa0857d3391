"""All statements on the schema `sandbox` that are its own."""
