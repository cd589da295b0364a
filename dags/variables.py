"""Variables and connections: in templates, in tasks, and masked in the log.

`hybrid variables set city Porto` and `hybrid connections set weather --conn-uri https://user:secret@api.example.com`
change what it says; without them it takes its defaults.
"""

from runtime import DAG, BashOperator, Connection, Variable, mask_secret, task

with DAG("variables", schedule=None, tags=["example"]):

    @task
    def prepare(conn=None) -> str:
        weather = conn.get("weather", Connection("weather", uri="https://me:not-to-be-seen@localhost"))
        print(f"asking {weather.host} as {weather.login} with {weather.password}")  # the password is *** in the log
        city = Variable.get("city", default="Lisbon")
        Variable.set("last_city", {"name": city})
        return city

    @task
    def hide() -> None:
        session = "session-" + "1" * 8
        mask_secret(session)
        print(f"from here on {session} is hidden, too")

    (
        hide()
        >> prepare()
        >> BashOperator(
            task_id="tell",
            bash_command="echo {{ var.json.last_city.name }}, by default {{ var.value.get('city', 'Lisbon') }}",
        )
    )
