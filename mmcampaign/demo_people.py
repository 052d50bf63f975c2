"""Invented learners for the demo: names in many scripts, user names, and addresses under reserved domains (RFC 2606).

A learner is a row of small numbers; ``card`` spells one out, always the same way.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]

STAFF_DOMAIN = "staff.uqx.example"
_DOMAINS = ("mail.example", "post.example", "inbox.example", "newwork.example", "Campus.Example", "webpost.example")
_SUFFIXES = ("", "", "", " Jr.", ", PhD", ", MBA")


class Kind(IntEnum):
    """What is special about a learner's account (edX cases E27, E29, E31, E34, E41–E43)."""

    PLAIN = 0
    RETIRED = 1
    PENDING_DELETION = 2
    NAMELESS = 3
    FORMULA = 4
    TWIN = 5  # shares the address of another learner
    STAFF = 6
    ODD_USERNAME = 7


class Culture(NamedTuple):
    """Names used together. ``name=letters`` gives the Latin letters that an address takes."""

    weight: int
    countries: str
    pattern: str
    given: str
    family: str


CULTURES = (
    Culture(22, "AU GB US NZ IE CA", "{given} {family}",
            "Ada Ben Clare Duncan Edith Fergus Grace Hugh Isla Jack Kate Liam Maeve Nell Oscar Ruby",
            "Ashdown Brook Carew D'Arcy Ellison Fairweather O'Connor Hollis Marlow Pike O'Brien Thorne Vance Wren"),
    Culture(14, "IN IN IN LK", "{given} {family}",
            "Aarav Bhavna Chitra Dev Esha Gopal Ishaan Kavya Lakshmi Meera Nikhil Priya Rohan Tara",
            "Agarwal Bose Chandran Deshpande Fernando Gupta Iyer Joshi Krishnan Menon Nair Patel Rao Sharma"),
    Culture(5, "IN", "{given} {family}",
            "अनिता=anita राज=raj सीता=sita मोहन=mohan कविता=kavita विजय=vijay",
            "शर्मा=sharma वर्मा=varma पटेल=patel मिश्रा=mishra यादव=yadav"),
    Culture(9, "MX CO PE ES CL AR", "{given} {family}",
            "Álvaro Belén Camila Diego Estefanía Fabián Inés Joaquín Lucía Martín Nuria Óscar Ximena",
            "Aguilar Benítez Castaño de la Cruz Domínguez Fuentes Ibáñez Muñoz Núñez Peña Quiñones Vázquez".replace(
                "de la Cruz", "de_la_Cruz")),
    Culture(7, "BR PT MZ AO", "{given} {family}",
            "Antônio Beatriz Caetano Débora Gonçalo Helena Inês João Letícia Mônica Simão",
            "Araújo Brandão Conceição Falcão Gusmão Leitão Magalhães Simões Tavares"),
    Culture(5, "FR BE SN CI", "{given} {family}",
            "Anaïs Benoît Cécile Daphné Étienne François Gaëlle Hélène Jérôme Noël Zoé",
            "Beauchêne Crépin Delâge Gérard L'Hôpital Lefèvre Noël-Martin Pâquet Sévère"),
    Culture(6, "DE AT CH NL SE NO DK", "{given} {family}",
            "Åsa Björn Claudia Dörte Elke Götz Jürgen Käthe Lars Maren Sören Ulrike",
            "Ågren Böhm Dünnebier Großmann Højgaard Jäger Lindström Müller-Lüdenscheid van_Dijk Weiß"),
    Culture(5, "PL CZ HU RO TR", "{given} {family}",
            "Agnieszka Bożena Çiğdem Dušan Elżbieta Gülşah İpek Łukasz Şerban Zoltán",
            "Dvořák Gökçe Kowalczyk Łukasiewicz Nagy Öztürk Popescu Świątek Țurcanu Yılmaz"),
    Culture(5, "UA KZ BG RS", "{given} {family}",
            "Мария=mariya Олександр=oleksandr Ірина=iryna Дмитро=dmytro Светлана=svetlana Юрий=yuriy Їжак=yizhak",
            "Петренко=petrenko Иванова=ivanova Шевченко=shevchenko Жуков=zhukov Щербак=shcherbak Коваль=koval"),
    Culture(2, "GR CY", "{given} {family}",
            "Αθηνά=athina Γιώργος=giorgos Ελένη=eleni Νίκος=nikos Σοφία=sofia",
            "Παπαδάκης=papadakis Νικολάου=nikolaou Ψαράς=psaras Βλάχου=vlachou"),
    Culture(6, "EG SA MA JO AE", "{given} {family}",
            "فاطمة=fatima محمد=mohamed ليلى=layla يوسف=youssef زينب=zaynab عمر=omar نور=nour",
            "الحسن=alhassan المصري=almasri بن‌علي=benali القاسم=alqasim حداد=haddad"),
    Culture(1, "IL", "{given} {family}", "נועה=noa דוד=david תמר=tamar אבי=avi",
            "כהן=cohen לוי=levi מזרחי=mizrahi"),
    Culture(3, "IR AF", "{given} {family}", "شیرین=shirin کاوه=kaveh پریسا=parisa آرش=arash",
            "رضایی=rezaei گلستانی=golestani ژاله‌فر=zhalefar"),
    Culture(8, "CN CN SG TW HK", "{family}{given}",
            "伟=wei 芳=fang 秀英=xiuying 子涵=zihan 雨桐=yutong 建国=jianguo 思源=siyuan 𠮷安=jian",
            "王=wang 李=li 张=zhang 陳=chen 欧阳=ouyang 司马=sima 黄=huang 吴=wu"),
    Culture(3, "JP", "{family} {given}", "花=hana 健太=kenta 美咲=misaki 翔=sho さくら=sakura",
            "鈴木=suzuki 髙橋=takahashi 渡邉=watanabe 小林=kobayashi 山﨑=yamasaki"),
    Culture(3, "KR", "{family}{given}", "민준=minjun 서연=seoyeon 지우=jiu 하은=haeun",
            "김=kim 이=lee 박=park 최=choi 남궁=namgung"),
    Culture(6, "VN", "{family} {given}",
            "Ánh Bảo Châu Dũng Hương Khánh Linh Ngọc Phượng Quỳnh Thị_Hồng Tuấn Yến",
            "Đặng Đỗ Hoàng Lê Nguyễn Phạm Trần Võ Vũ"),
    Culture(2, "TH", "{given} {family}", "สมชาย=somchai มาลี=mali อรุณ=arun ดาริกา=darika",
            "ใจดี=jaidee ศรีสุข=srisuk ทองคำ=thongkham"),
    Culture(6, "NG GH KE ZA NA ET", "{given} {family}",
            "Adébáyọ̀ Chidi Ebele Ifẹ́olúwa Kwame Lindiwe Ndapewa Ọlámidé Thabo Wanjikũ Zola",
            "Adéyẹmí Boateng Eze Haufiku Mokoena Mwangi Ọ̀nàyẹmí Okafor Tesfaye ǃGaeb"),
    Culture(2, "ID", "{given}", "Sukarti Wahyuni Budiono Suharti Ningsih Yuliana", "x"),
)  # fmt: skip


def _letters(name: str) -> str:
    """What an address makes of a Latin name: ``Núñez`` becomes ``nunez``; an apostrophe stays (edX case E28)."""
    plain = unicodedata.normalize("NFKD", name.translate(str.maketrans("ıŁłøØđĐßọ", "iLloOdDso")))
    kept = "".join(letter for letter in plain if letter.isascii() and (letter.isalnum() or letter in "'-"))
    return kept.lower().strip("-'") or "learner"


def _table(words: str) -> tuple[tuple[str, str], ...]:
    pairs = (word.replace("_", " ").partition("=") for word in words.split())
    return tuple((name, letters or _letters(name)) for name, _, letters in pairs)


_GIVEN = tuple(_table(culture.given) for culture in CULTURES)
_FAMILY = tuple(_table(culture.family) for culture in CULTURES)
_COUNTRIES = tuple(tuple(culture.countries.split()) for culture in CULTURES)


class Card(NamedTuple):
    """A learner as edX writes one."""

    student_id: int
    username: str
    name: str
    email: str
    country: str


@dataclass(frozen=True, kw_only=True)
class People:
    """All learners. Enrolling gives some a special ``kind``, and a twin the learner it is ``twin_of``."""

    student_id: Ints
    culture: Ints
    dice: Ints
    kind: Ints
    twin_of: Ints

    @classmethod
    def draw(cls, count: int, rng: np.random.Generator) -> "People":
        """``count`` learners with rising edX ids of five to eight digits."""
        weights = np.array([culture.weight for culture in CULTURES], dtype=float)
        gap = max(2, 60_000_000 // max(count, 1))
        return cls(
            student_id=10_000 + np.cumsum(rng.integers(1, gap, count)),
            culture=rng.choice(len(CULTURES), size=count, p=weights / weights.sum()),
            dice=rng.integers(0, 2**40, count),
            kind=rng.choice(
                [Kind.PLAIN, Kind.RETIRED, Kind.PENDING_DELETION, Kind.NAMELESS],
                size=count,
                p=[0.986, 0.003, 0.001, 0.01],
            ).astype(np.int64),
            twin_of=np.full(count, -1, dtype=np.int64),
        )

    def card(self, index: int, *, earlier: bool = False) -> Card:
        """Spell out a learner; ``earlier`` gives the address some had before (edX case E33)."""
        culture, dice, kind = int(self.culture[index]), int(self.dice[index]), int(self.kind[index])
        given, family = _pick(_GIVEN[culture], dice), _pick(_FAMILY[culture], dice >> 8)
        name = CULTURES[culture].pattern.format(given=given[0], family=family[0])
        email = _email(given[1], family[1], index, dice >> 16, earlier=earlier)
        card = Card(
            student_id=int(self.student_id[index]),
            username=_username(given[1], family[1], index, dice >> 24),
            name=_styled(name, dice >> 28),
            email=email,
            country=_COUNTRIES[culture][(dice >> 20) % len(_COUNTRIES[culture])] if dice % 50 else "",
        )
        return card if kind == Kind.PLAIN else self._special(card, Kind(kind), index)

    def _special(self, card: Card, kind: Kind, index: int) -> Card:
        retired = f"retired__user_{hashlib.blake2b(card.username.encode(), digest_size=20).hexdigest()}"
        match kind:
            case Kind.RETIRED:
                card = card._replace(username=retired, name="", email=f"{retired}@retired.invalid", country="")
            case Kind.PENDING_DELETION:
                card = card._replace(email=f"{retired}@retired.invalid")
            case Kind.NAMELESS:
                card = card._replace(name="")
            case Kind.FORMULA:
                card = card._replace(name=f"=SUM(1,2) {card.name}")
            case Kind.TWIN:
                card = card._replace(email=self.card(int(self.twin_of[index])).email)
            case Kind.STAFF:
                card = card._replace(email=f"team{index}@{STAFF_DOMAIN}", name=f"{card.name} (course team)")
            case Kind.ODD_USERNAME:
                card = card._replace(username="null", country="NA")
        return card


def _pick(table: tuple[tuple[str, str], ...], dice: int) -> tuple[str, str]:
    return table[dice % 251 % len(table)]


def _styled(name: str, dice: int) -> str:
    """People type their names in many ways."""
    style = dice % 40
    if style < 6:
        return name + _SUFFIXES[style]
    if style == 6:
        return name.upper()
    if style == 7:
        return name.lower()
    if style == 8:
        return f'{name} "{name.split(maxsplit=1)[0]}"'
    return f"Dr {name}" if style == 9 else name


def _username(given: str, family: str, index: int, dice: int) -> str:
    letters = f"{given}_{family}" if dice % 3 else f"{given[:1]}-{family}".title()
    return f"{letters.replace(chr(39), '')[:22]}{index}" if dice % 16 else f"{index:05d}"


def _email(given: str, family: str, index: int, dice: int, *, earlier: bool) -> str:
    tag = "+edx" if dice % 11 == 0 else ""
    old = ".old" if earlier and dice % 23 == 0 else ""
    local = f"{given}.{family}" if dice % 4 else f"{given[:1]}.{family}".upper()
    return f"{local}{index}{old}{tag}@{_DOMAINS[dice % len(_DOMAINS)]}"
