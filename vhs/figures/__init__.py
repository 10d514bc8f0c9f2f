"""Tables to figures. Nothing here measures anything: what is drawn stands in the table."""
