"""Video in and out: media files, frames with planes and times, the writer, what is delivered beside the picture."""
