"""Who is in the footage: shots, faces, cast members."""
