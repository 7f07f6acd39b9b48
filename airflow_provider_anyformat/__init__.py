"""Apache Airflow provider for anyformat: delete file collections, one by one or by retention policy."""

__version__ = "0.1.0"
