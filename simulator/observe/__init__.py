"""What a process shows to the outside: metrics for Prometheus, traces by OTLP. Loaded lazily."""
