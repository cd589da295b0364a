"""Pictures of DAGs, as text: DOT, Mermaid and SVG. Pure; whatever an author wrote is escaped."""
