"""Tables as people write them: numbers, times, headers, encodings; what is said of odd cells."""

import gzip
import time

import numpy as np
import pandas as pd
import pytest
import torch

from gantlet.core.data import all_samples, notes_of
from gantlet.core.errors import UserError
from gantlet.core.spec import datasets
from gantlet.data.delimited import is_missing, parsed
from gantlet.domains.cells import dependences, read_cells


def table(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return datasets.make(f"table:path={path}")


def column(*cells):
    return np.array(cells, dtype=object)


def understood(*cells, comma=False):
    found = parsed(column(*cells), decimal_comma=comma)
    return found.kind, [None if np.isnan(v) else round(float(v), 6) for v in found.values]


# Numbers


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (("1", " 2.5 ", "-3e2", "+.5"), [1, 2.5, -300, 0.5]),
        (("1,234.50", "12.5", "1,000,000"), [1234.5, 12.5, 1e6]),
        (("1.234,50", "12,5", "1.000.000"), [1234.5, 12.5, 1e6]),
        (("1 234,5", "12,5", "3"), [1234.5, 12.5, 3]),
        (("1'234.5", "12.5", "3"), [1234.5, 12.5, 3]),
        (("$1,234.50", "$ 12", "-$3.00"), [1234.5, 12, -3]),
        (("12 €", "3,50 €", "1.200,00 €"), [12, 3.5, 1200]),
        (("5%", "12.5 %", "100%"), [5, 12.5, 100]),
        (("(1,234)", "12", "7,000"), [-1234, 12, 7000]),
        (("1", "<NA>", "NaT", "n/a", "None", "", "2"), [1, None, None, None, None, None, 2]),
    ],
)
def test_numbers_in_the_forms_of_many_lands(cells, values):
    assert understood(*cells) == ("number", values)


def test_one_odd_cell_is_missing_and_is_named():
    cells = column(*map(str, range(100)))
    for odd in ("-", "abc", "$1,234.50", "3,5x", "2021-03-04", "inf", "1e39"):
        cells[17] = odd
        found = parsed(cells, decimal_comma=False)
        assert (found.kind, found.odd, found.n_odd) == ("number", (odd,), 1)
        assert np.isnan(found.values).nonzero()[0].tolist() == [17]


def test_a_column_with_many_odd_cells_holds_categories():
    nine = ["1"] * 90
    assert parsed(column(*nine, *["x"] * 10), decimal_comma=False).kind == "number"
    found = parsed(column(*nine, *["x"] * 11), decimal_comma=False)
    assert (found.kind, round(found.share, 3)) == ("category", round(90 / 101, 3))
    assert understood("a", "b")[0] == "category"
    assert understood("", "")[0] == "category"
    # Two currencies are not one number.
    assert understood("$1", "€2", "$3", "€4")[0] == "category"


def test_a_comma_before_three_digits_is_what_the_file_makes_likely():
    assert understood("1,234", "5,678") == ("number", [1234, 5678])
    assert understood("1,234", "5,678", comma=True) == ("number", [1.234, 5.678])
    assert parsed(column("1,234", "5,678"), decimal_comma=True).is_doubtful
    assert not parsed(column("1,234", "5,67"), decimal_comma=False).is_doubtful


# Times


@pytest.mark.parametrize(
    ("cells", "first", "apart"),
    [
        (("1970-01-02", "1970-01-04"), 1, 2),
        (("1970-01-01 12:00:00", "1970-01-02 00:00:00"), 0.5, 0.5),
        (("1970-01-01T12:00:00Z", "1970-01-01T12:00:00+02:00"), 0.5, -2 / 24),
        (("13.02.1970", "14.02.1970"), 43, 1),
        (("2/13/1970 6:00 PM", "2/14/1970 6:00 AM"), 43.75, 0.5),
        (("13/02/1970", "14/02/1970"), 43, 1),
        (("1970/02/13", "1970/02/14"), 43, 1),
        (("Feb 13, 1970", "Feb 14, 1970"), 43, 1),
        (("13 February 1970", "14 February 1970"), 43, 1),
        (("06:00", "18:30"), 0.25, 12.5 / 24),
        (("06:00:00.5", "06:00:01"), 0.25 + 0.5 / 86400, 0.5 / 86400),
    ],
)
def test_times_become_days(cells, first, apart):
    found = parsed(column(*cells), decimal_comma=False)
    assert found.kind == "time"
    assert found.values[0] == pytest.approx(first, abs=1e-9)
    assert found.values[1] - found.values[0] == pytest.approx(apart, abs=1e-9)


def test_days_and_months_that_could_be_swapped_are_doubtful():
    assert parsed(column("01/02/2020", "03/04/2020"), decimal_comma=False).is_doubtful
    assert not parsed(column("01/02/2020", "13/04/2020"), decimal_comma=False).is_doubtful


def test_a_later_table_lies_later_in_days_and_odd_times_are_missing(tmp_path):
    rows = [f"20{y}-03-{d:02} 10:00:00,{d}" for y in (21, 22) for d in range(1, 21)]
    real = table(tmp_path / "r.csv", "when,n\n" + "\n".join(rows))
    late = table(
        tmp_path / "l.csv",
        "when,n\n"
        + "\n".join(r.replace("2021-03-01", "soon").replace("2022", "2032") for r in rows),
    )
    code = real.code()
    assert (code.columns[0].kind, code.space.shape) == ("time", (4,))
    x, y = all_samples(real.whole()), all_samples(late.coded(code)[0])
    # From March 2022 to March 2032: ten years with three leap days.
    assert (y[20:, 0] - x[20:, 0]).tolist() == [3653.0] * 20
    assert y[:, 1].tolist() == [1.0] + [0.0] * 39
    assert late.coded(code)[1] == (
        "l.csv: column when: 1 of 40 cells is not a time ('soon 10:00:00'), read as missing"
    )
    assert code.read(x[1:2]) == ["when=2021-03-02 10:00:00, n=2"]


def test_seconds_and_large_numbers_keep_their_differences(tmp_path):
    text = "when,count\n" + "".join(
        f"2021-03-05 10:{i:02}:{i:02},{2**40 + i}\n" for i in range(30)
    )
    x = all_samples(table(tmp_path / "t.csv", text).whole())
    seconds = ((x[:, 0] - x[0, 0]) * 86400).round()
    assert seconds.tolist() == [61 * i for i in range(30)]
    assert (x[:, 2] - x[0, 2]).tolist() == list(range(30))


# Columns that another table lacks, or has otherwise


def real_and(tmp_path, fake):
    rows = "\n".join(f"{i},{'ab'[i % 2]}" for i in range(40))
    real = table(tmp_path / "real.csv", f"price,kind\n{rows}\n")
    return real.code(), table(tmp_path / "fake.csv", fake)


def test_a_column_of_words_where_numbers_are_is_refused(tmp_path):
    code, fake = real_and(tmp_path, "price,kind\n" + "cheap,a\ndear,b\n" * 10)
    with pytest.raises(UserError, match=r"'price' of .*fake.csv does not hold numbers.*'cheap'"):
        fake.coded(code)
    code, fake = real_and(tmp_path, "price,kind\n" + "2021-02-03,a\n2021-03-04,b\n" * 10)
    with pytest.raises(UserError, match=r"does not hold numbers.*2021-02-03"):
        fake.coded(code)
    # An empty one can be compared: all is missing there.
    code, fake = real_and(tmp_path, "price,kind\n" + ",a\n,b\n" * 10)
    assert all_samples(fake.coded(code)[0])[:, 1].tolist() == [1.0] * 20


def test_columns_in_another_order_and_more_of_them(tmp_path):
    code, fake = real_and(tmp_path, "kind,colour,price\n" + "a,red,7\nb,blue,8\n" * 10)
    source, told = fake.coded(code)
    assert code.read(all_samples(source)[:2]) == ["price=7, kind=a", "price=8, kind=b"]
    assert told == "1 column of fake.csv that the real table lacks: colour"
    code, fake = real_and(tmp_path, "cost,sort\n" + "7,a\n8,b\n" * 10)
    assert "no column of fake.csv has a real one's name" in fake.coded(code)[1]
    assert code.read(all_samples(fake.coded(code)[0])[:1]) == ["price=7, kind=a"]


def test_what_is_hardly_compared_is_said(tmp_path):
    rows = "\n".join(f"id{i},{i if i % 4 else 'many'}" for i in range(40))
    told = notes_of(table(tmp_path / "t.csv", f"id,n\n{rows}\n").whole())
    assert told == (
        (
            "1 column of t.csv read as categories, as too few cells of them are numbers or "
            "times: n (75%)"
        ),
        "1 column of t.csv not compared but for missing values, as no value is there twice: id",
    )


def test_a_category_that_looks_like_a_number_there_is_read_as_it_is_written(tmp_path):
    real = table(tmp_path / "r.csv", "code,n\n" + "01,1\n02,2\nx,3\ny,4\n" * 10)
    fake = table(tmp_path / "f.csv", "code,n\n" + "01,1\n02,2\n" * 10)
    code = real.code()
    assert code.columns[0].categories == ("01", "02", "x", "y")
    assert code.read(all_samples(fake.coded(code)[0])[:2]) == ["code=01, n=1", "code=02, n=2"]
    truth = table(tmp_path / "b.csv", "t,n\n" + "TRUE,1\nFALSE,2\n" * 10)
    assert truth.code().columns[0].categories == ("FALSE", "TRUE")


# Files


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_parts_columns_is_what_gives_all_rows_one_width(tmp_path, delimiter):
    head = f'"name, first"{delimiter}age{delimiter}"x; y, z | w"\n'
    rows = "".join(f"x{i % 3}{delimiter}{30 + i}{delimiter}{i % 11}\n" for i in range(40))
    cells = read_cells_of(tmp_path, head + rows)
    assert cells.names == ["name, first", "age", "x; y, z | w"]
    decimal = f"a{delimiter}b\n" + f"1.5{delimiter}2\n3.5{delimiter}4\n" * 5
    assert read_cells_of(tmp_path, decimal).is_numeric


def read_cells_of(tmp_path, text):
    path = tmp_path / f"{abs(hash(text))}.csv"
    path.write_text(text)
    return read_cells(path)


def test_decimal_commas_between_semicolons(tmp_path):
    cells = read_cells_of(tmp_path, "a;b\n1,5;2,25\n3,5;4,75\n")
    assert cells.numbers((0, 1)).tolist() == [[1.5, 2.25], [3.5, 4.75]]
    plain = read_cells_of(tmp_path, "1,5;2\n3,5;4\n")
    assert (plain.names, plain.numbers((0,)).tolist()) == (["1", "2"], [[1.5], [3.5]])


def test_a_first_line_of_dates_and_numbers_is_data(tmp_path):
    cells = read_cells_of(tmp_path, "2021-03-04,1\n2021-03-05,2\n")
    assert (len(cells), cells.names) == (2, ["1", "2"])
    assert read_cells_of(tmp_path, "2021,2022\n1,2\n").names == ["1", "2"]
    assert read_cells_of(tmp_path, "year,2022\n1,2\n").names == ["year", "2022"]
    assert read_cells_of(tmp_path, ",a\n0,2\n").names == ["column 1", "a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, encoding):
    text = "Größe,Name\n" + "1,Müller\n2,Åse\n" * 10
    found = table(tmp_path / "t.csv", text, encoding)
    assert found.code().columns[0].name == "Größe"
    assert found.code().columns[1].categories == ("Müller", "Åse")
    told = notes_of(found.whole())
    assert told == (
        ("t.csv is not UTF-8 and was read as Windows-1252 (Latin-1)",)
        if encoding == "latin-1"
        else ()
    )


def test_packed_and_parquet(tmp_path, monkeypatch):
    text = "a,b\n1,x\n2.5,y\n" * 1 + "3,x\n4,y\n5,x\n6,y\n"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    packed = datasets.make(f"table:path={tmp_path / 't.csv.gz'}")
    plain = table(tmp_path / "t.csv", text)
    assert torch.equal(all_samples(packed.whole()), all_samples(plain.whole()))
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    parquet = datasets.make(f"table:path={tmp_path / 't.parquet'}")

    def lacking(_path):
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", lacking)
    with pytest.raises(UserError, match="needs pyarrow: pip install pyarrow"):
        parquet.whole()
    monkeypatch.setattr(pd, "read_parquet", lambda _path: pd.read_csv(tmp_path / "t.csv"))
    assert torch.equal(all_samples(parquet.whole()), all_samples(plain.whole()))


def test_rows_that_are_empty_are_left_out_and_counted(tmp_path):
    found = table(tmp_path / "t.csv", "a,b\n1,2\n,\n3,4\n,\n,6\n")
    assert len(found.whole()) == 3
    assert notes_of(found.whole()) == ("2 rows are empty in t.csv and left out",)
    numbers = datasets.make(f"csv:path={tmp_path / 't.csv'}")
    with pytest.raises(UserError, match="1 missing value, the first in line 6, column 'a'"):
        numbers.whole()


def test_lines_of_quoted_cells_are_counted_as_in_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n"1\n",2\n3,4\n5,six\n')
    with pytest.raises(UserError, match="line 5, column 'b': 'six' is not a number"):
        datasets.make(f"csv:path={path}").whole()


# Size


def test_a_wide_table_is_read_in_seconds_and_a_wider_one_refused(tmp_path):
    draw = np.random.default_rng(0)
    path = tmp_path / "wide.csv"
    path.write_text(
        "\n".join(",".join(f"{v:.3f}" for v in row) for row in draw.normal(size=(2, 5000)))
    )
    start = time.process_time()
    found = datasets.make(f"csv:path={path}")
    assert found.code().space.shape == (5000,)
    assert time.process_time() - start < 30
    path.write_text("\n".join(",".join(["1"] * 10_001) for _ in range(2)))
    with pytest.raises(UserError, match="10,001 columns; at most 10,000 are read"):
        found.code()


def test_bonds_of_one_matrix_are_those_of_each_pair():
    draw = np.random.default_rng(2)
    x = draw.normal(size=(500, 1))
    parts = [(s * x + draw.normal(size=(500, 1)), True) for s in (1.0, -2.0, 0.5, 0.0)]
    found = dependences([(p.astype(np.float32), n) for p, n in parts])
    ranks = [pd.Series(p[:, 0]).rank() for p, _ in parts]
    for bond in found:
        i, j = bond.columns
        own = np.corrcoef(
            *(torch.special.ndtri(torch.tensor((ranks[k] - 0.5) / 500)) for k in (i, j))
        )
        assert bond.correlation == pytest.approx(abs(own[0, 1]), abs=1e-5)
        # The two sums go together, whatever their signs.
        assert (bond.weights[0] * bond.weights[1]).sign() == np.sign(own[0, 1])
    assert found[0].columns == (0, 1)


def test_missing_words_in_any_case():
    cells = column("NA", "n/a", "NaN", "nat", "<na>", "?", " ", "0", "no", "-")
    assert is_missing(cells).tolist() == [True] * 7 + [False] * 3
