"""How Django itself writes a time in a page: by 24 hours and to the second. The settings' own formats lose against a language's."""

DATE_FORMAT = "j M Y"
DATETIME_FORMAT = "j M Y H:i:s"
