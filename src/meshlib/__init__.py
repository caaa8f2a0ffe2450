"""The service mesh that you import: resilience, balancing and routing inside your own process."""
