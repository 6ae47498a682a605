"""The sections of the report page, one question in each file."""
