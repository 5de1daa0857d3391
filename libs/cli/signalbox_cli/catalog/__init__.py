"""What commands do with the catalog: the resources that describe agents."""
