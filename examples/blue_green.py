"""Blue-green: test green by a header, switch everyone at once, switch back at once."""

from __future__ import annotations

from _servers import named, serving

from meshlib import Mesh, SyncMeshClient


def document(blue: str, green: str, live: str) -> dict[str, object]:
    return {
        "services": {
            "shop": {
                "routes": [{"match": {"headers": {"x-preview": "green"}}, "split": "shop-green"}],
                "split": f"shop-{live}",
            }
        },
        "clusters": {"shop-blue": {"endpoints": [blue]}, "shop-green": {"endpoints": [green]}},
    }


def main() -> None:
    with serving(named("blue")) as blue, serving(named("green")) as green:
        mesh = Mesh.from_dict(document(blue, green, "blue"))
        with mesh, SyncMeshClient(mesh=mesh) as client:

            def live(**headers: str) -> str:
                return str(client.get("http://shop/", headers=headers).json()["server"])

            assert (live(), live(**{"x-preview": "green"})) == ("blue", "green")
            mesh.update(document(blue, green, "green"))
            assert live() == "green"
            mesh.update(document(blue, green, "blue"))  # something is wrong with it: back
            assert live() == "blue"
            print("blue, previewed green, switched to green, and back")


if __name__ == "__main__":
    main()
