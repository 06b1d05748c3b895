"""Numbers of the API that no installation changes, each with its source."""

MB = 1024 * 1024

JSON_BODY_BYTES = 1 * MB  # ours: the largest legal batch body has 10 kB
JSON_DEPTH = 100  # ours: deeper nesting is an attack, not a request
FORM_PARTS = 100  # ours: an upload has four
FORM_OVERHEAD_BYTES = 1 * MB  # ours: what a form adds to its file, fields and boundaries
FORM_FIELD_BYTES = 4096  # ours: the longest legal value of a form field has 11
FILENAME_BYTES = 255  # the longest name of the file systems in use
ECHO_CHARS = 100  # ours: how much of a caller's wrong value an error repeats

FILE_PAGE = (10_000, 10_000)  # default and most; contract.md 6.1
BATCH_PAGE = (20, 100)  # default and most; contract.md 2.2
EXPIRES_AFTER_SECONDS = (3600, 2_592_000)  # one hour to 30 days; contract.md 2.1, 6.1

METADATA_PAIRS = 16  # contract.md 2.1
METADATA_KEY_CHARS = 64  # contract.md 2.1
METADATA_VALUE_CHARS = 512  # contract.md 2.1

RETRY_AFTER_SECONDS = 5  # the SDK obeys up to 120; contract.md 5.3
