"""Building blocks of reports: page, clip, contact sheet."""
