"""Every threshold of the checks in one table, with where it comes from."""

# Gmail cuts an HTML part at about 102 kB and hides the footer with it; links grow when a provider rewrites them.
SIZE_WARN_BYTES = 90_000
SIZE_BLOCK_BYTES = 102_000

SUBJECT_CHARACTERS = 60  # what most inboxes show
PREHEADER_SHORTEST = 40  # shorter, and inboxes fill up with body text
PREHEADER_LONGEST = 130
TEXT_COLUMNS = 78  # RFC 5322 2.1.1, advised

# WCAG 2.2, 1.4.3: normal text, and large text (24 px, or 18.66 px in bold).
CONTRAST_NORMAL = 4.5
CONTRAST_LARGE = 3.0
LARGE_PIXELS = 24.0
LARGE_BOLD_PIXELS = 18.66

# A letter of body text takes about so many square pixels (16 px type on 25 px lines).
PIXELS_PER_LETTER = 200

SPAM_SCORE = 2.0  # of SpamAssassin, which calls it spam from 5.0

SHAPES_CHECKED = 40  # the most frequent ones
SHAPES_FOR_SPAM = 3
LINK_SECONDS = 10
LINKS_AT_ONCE = 5
