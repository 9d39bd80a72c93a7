//! A street with a number: `上海市浦东新区张江路123号5栋601室`.

/// What a street, a village or an estate ends with, where a number follows.
const PLACES: [&str; 15] = [
    "大道", "胡同", "小区", "花园", "公寓", "家园", "大厦", "新村", "路", "街", "道", "巷", "弄",
    "苑", "村",
];
/// What follows a number in an address; the longest first.
const NUMBERED: [&str; 10] = ["号楼", "号院", "单元", "号", "弄", "栋", "幢", "座", "室", "层"];
/// Words after which a place is named.
const BEFORE: [char; 12] = ['在', '于', '住', '址', '到', '往', '位', '是', '为', '从', '至', '了'];
/// The largest units, which begin an address wherever they stand.
const LARGEST: [&str; 34] = [
    "北京",
    "天津",
    "上海",
    "重庆",
    "河北",
    "山西",
    "辽宁",
    "吉林",
    "黑龙江",
    "江苏",
    "浙江",
    "安徽",
    "福建",
    "江西",
    "山东",
    "河南",
    "湖北",
    "湖南",
    "广东",
    "海南",
    "四川",
    "贵州",
    "云南",
    "陕西",
    "甘肃",
    "青海",
    "台湾",
    "内蒙古",
    "广西",
    "西藏",
    "宁夏",
    "新疆",
    "香港",
    "澳门",
];
/// No address is longer before its first number.
const LONGEST: usize = 24;
/// What a street's name is given where nothing says where it begins.
const SHORT: usize = 6;

/// The address whose first number stands here.
pub(super) fn around(text: &str, digits: usize, digits_end: usize) -> Option<(usize, usize)> {
    let (before, after) = (&text[..digits], &text[digits_end..]);
    if digits_end - digits > 5 || !NUMBERED.iter().any(|it| after.starts_with(it)) {
        return None;
    }
    let street = without_section(before);
    let place = PLACES.iter().find(|it| street.ends_with(**it))?;
    // Line 10 of the underground, document number 5.
    if ["号线", "号文", "号令"].iter().any(|it| after.starts_with(it)) {
        return None;
    }
    let name = name_before(before);
    let section = before[street.len()..].chars().count();
    if name.chars().count() <= place.chars().count() + section {
        return None;
    }
    Some((digits - name.len(), digits_end + numbered(after)))
}

/// The street without the section of it that some are numbered by: `人民南路四段`.
fn without_section(before: &str) -> &str {
    const SECTIONS: [char; 15] =
        ['一', '二', '三', '四', '五', '六', '七', '八', '九', '十', '东', '西', '南', '北', '中'];
    before.strip_suffix('段').and_then(|it| it.strip_suffix(SECTIONS)).unwrap_or(before)
}

/// The part of the text before the number that names the place.
fn name_before(before: &str) -> &str {
    let ideograph = |it: char| ('\u{4e00}'..='\u{9fff}').contains(&it);
    let run = before.chars().rev().take(LONGEST).take_while(|it| ideograph(*it));
    let run = &before[before.len() - run.map(char::len_utf8).sum::<usize>()..];
    let largest = LARGEST.iter().filter_map(|it| run.rfind(it)).min();
    if let Some(at) = largest {
        return &run[at..];
    }
    if let Some((at, it)) = run.char_indices().rev().find(|(_, it)| BEFORE.contains(it)) {
        return &run[at + it.len_utf8()..];
    }
    let n = run.chars().count();
    match run.char_indices().nth(n.saturating_sub(SHORT)) {
        // Where the run begins the sentence, all of it is the name.
        Some((at, _)) if n == LONGEST => &run[at..],
        _ => run,
    }
}

/// How far the address goes on: `号5栋601室`.
fn numbered(after: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = &after[end..];
        let Some(unit) = NUMBERED.iter().find(|it| rest.starts_with(**it)) else { return end };
        end += unit.len();
        let rest = &after[end..];
        let more = rest.bytes().take_while(|it| it.is_ascii_alphanumeric() || *it == b'-').count();
        // Digits at the very end of an address may stand for a room.
        let unit_follows = NUMBERED.iter().any(|it| rest[more..].starts_with(it));
        if more == 0 || more > 5 || !unit_follows {
            return end;
        }
        end += more;
    }
}
