//! What is found, and what only looks like it.

use super::*;

fn found(text: &str) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    find(text, &mut all);
    all.iter().map(|it| (it.what.name(), text[it.start..it.end].to_owned())).collect()
}

fn one(text: &str, name: &str, part: &str) {
    assert_eq!(found(text), [(name, part.to_owned())], "{text}");
}

fn none(text: &str) {
    assert_eq!(found(text), [], "{text}");
}

#[test]
fn mobiles_have_borders() {
    one("电话13800138000。", "mobile", "13800138000");
    one("138-0013-8000", "mobile", "138-0013-8000");
    one("拨打+86 138 0013 8000", "mobile", "+86 138 0013 8000");
    one("8613800138000", "mobile", "8613800138000");
    one("（+86-19912345678）", "mobile", "+86-19912345678");
    none("单号013800138000");
    none("1380013800012");
    none("12800138000");
    none("0.13800138000");
    none("A13800138000");
    none("138-00138-000");
}

#[test]
fn identity_cards_need_their_day_and_check_digit() {
    one("身份证11010519491231002X，", "id_card", "11010519491231002X");
    one("11010519491231002x", "id_card", "11010519491231002x");
    one("号码440524198001010013", "id_card", "440524198001010013");
    // Another check digit, a 31st of February, one digit more.
    none("440524198001010011");
    none("440524198002310018");
    none("11010519491231002X1");
}

#[test]
fn bank_cards_need_their_sum() {
    one("卡号6222021234567890128", "bank_card", "6222021234567890128");
    one("4111 1111 1111 1111", "bank_card", "4111 1111 1111 1111");
    none("6222021234567890123");
    none("1111111111111117");
}

#[test]
fn landlines_need_an_area_code_and_a_mark() {
    one("热线010-62345678", "landline", "010-62345678");
    one("(0571)8765432", "landline", "(0571)8765432");
    one("0755 26712345", "landline", "0755 26712345");
    one("400-820-8820", "landline", "400-820-8820");
    none("2023-12345678");
    none("010-6234567");
    none("01062345678");
}

#[test]
fn mail_and_addresses_of_machines() {
    one("写信到 zhang.san+a@mail.example.com.cn.", "email", "zhang.san+a@mail.example.com.cn");
    one("13800138000@139.com", "email", "13800138000@139.com");
    none("a@b");
    none("@微博 某人@某处");
    none("x@-a.com");
    one("服务器 114.114.114.114 很快", "ip", "114.114.114.114");
    for it in ["192.168.1.1", "127.0.0.1", "10.1.2.3", "版本2.4.1.0", "v11.2.3.4", "256.1.1.1"] {
        none(it);
    }
    none("11.22.33.44.55");
    none("100.64.0.1");
}

#[test]
fn accounts_follow_their_word() {
    one("加QQ：123456789咨询", "qq", "123456789");
    one("qq群 87654321", "qq", "87654321");
    one("微信号：zhang_san88", "wechat", "zhang_san88");
    one("VX: abc12345", "wechat", "abc12345");
    none("QQ音乐2023");
    none("微信 Android 版本");
    none("QQ 1234");
    one("QQ:12345678@qq.com", "email", "12345678@qq.com");
}

#[test]
fn addresses_are_a_place_and_a_number() {
    one("我住在张江路123号5栋601室。", "address", "张江路123号5栋601室");
    one("公司位于上海市浦东新区张江路123号", "address", "上海市浦东新区张江路123号");
    one("幸福小区3栋2单元501室", "address", "幸福小区3栋2单元501室");
    none("地铁10号线");
    none("路10号");
    none("第123号文件");
    none("道路5米");
}

#[test]
fn numbers_are_found_as_people_write_them() {
    one("0086-17712345678", "mobile", "0086-17712345678");
    one("008617712345678", "mobile", "008617712345678");
    one("0086 177 1234 5678", "mobile", "0086 177 1234 5678");
    one("029-8765432", "landline", "029-8765432");
    one("热线4008001234，", "landline", "4008001234");
    one("400-8001234", "landline", "400-8001234");
    one("4008-001-234", "landline", "4008-001-234");
    one("电话（010）62345678。", "landline", "（010）62345678");
    one("（0571）8765432", "landline", "（0571）8765432");
    one("薇信：zhang_san88", "wechat", "zhang_san88");
    one("我在人民南路四段11号", "address", "人民南路四段11号");
    one("成都市武侯区天府大道中段5号2栋", "address", "成都市武侯区天府大道中段5号2栋");
}

#[test]
fn what_only_looks_like_a_number_stays() {
    for it in [
        "0086-12345678901",
        "00861771234567",
        "10086-17712345678",
        "（2010）62345678",
        "（010）6234567",
        "(010）62345678",
        "（010)62345678",
        // Sums, counts, numbers of something else.
        "4000000000",
        "4006000000",
        "共4008001234元",
        "4008001234个",
        "4008001234.5",
        "4008001234567",
        "4028001234",
        "A4008001234",
        "400-800-12345",
        "薇信 Android 版本",
        "蔷薇信息很多",
        "四段11号",
        "路四段11号",
        "手段11号",
        "第三阶段11号",
    ] {
        none(it);
    }
}

#[test]
fn what_a_page_is_called_by_is_nobodys_number() {
    for it in [
        "https://item.example.com/item.htm?id=4111111111111111",
        "见 http://a.example.cn/p/13800138000.html 等",
        "http://a.example.cn/13800138000/400-820-8820",
        "www.example.com/u/13800138000",
        "item.example.com/13800138000",
        "example.cn?t=6222021234567890128&u=13800138000",
        "(https://a.example.cn/11010519491231002X)",
        "ftp://example.com/a,13800138000",
    ] {
        none(it);
    }
    one("http://a.example.cn 13800138000", "mobile", "13800138000");
    one("http://a.example.cn，电话13800138000", "mobile", "13800138000");
    one("<a href=\"http://a.example.cn\">13800138000</a>", "mobile", "13800138000");
    one("电话/传真/010-62345678", "landline", "010-62345678");
    one("Tel/13800138000", "mobile", "13800138000");
    one("no.1/13800138000", "mobile", "13800138000");
    one("http://114.114.114.114/x", "ip", "114.114.114.114");
}

#[test]
fn nothing_breaks_on_any_text() {
    let pieces = [
        "微",
        "信号：",
        "号",
        "1",
        "86",
        "路",
        "@",
        "a.",
        "-",
        " ",
        "Q",
        "+",
        "(",
        "\u{0}",
        "😀",
        "扣扣",
        "（",
        "）",
        "010",
        "段",
        "http://a.cn/",
        "13800138000",
    ];
    let mut state = 1_u64;
    let mut all = Vec::new();
    for _ in 0..3000 {
        let mut text = String::new();
        for _ in 0..24 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text += pieces[(state >> 33) as usize % pieces.len()];
        }
        find(&text, &mut all);
        let in_order = all.windows(2).all(|it| it[0].end <= it[1].start);
        assert!(in_order && all.iter().all(|it| text.get(it.start..it.end).is_some()), "{text}");
    }
}
