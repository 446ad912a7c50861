"""Putting the drawn mouth back into the frame: matte, outline, what lies in front, planes."""
