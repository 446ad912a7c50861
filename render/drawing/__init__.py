"""Drawing a mouth into a crop: cut out, rasterized, erased, drawn by the network."""
