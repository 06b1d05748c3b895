"""The dialect both APIs speak: error envelope, cursor pages, ids, Unix seconds. It knows no app."""
