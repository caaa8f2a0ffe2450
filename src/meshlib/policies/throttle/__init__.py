"""Client-side throttling: send less to a server that refuses or fails."""
