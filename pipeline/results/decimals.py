"""How a figure with decimals is written."""


def decimals_text(value: float, places: int = 2) -> str:
    """A figure to so many decimals, with a real minus sign, and none before what rounds to zero."""
    return f"{value:z.{places}f}".replace("-", "\N{MINUS SIGN}")
