//! What servers do, and what becomes of it: answers in order, asked once, given up with a reason.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plan::Endpoint;
use serde_json::{Value, json};

use super::client::{Client, Refusal};
use super::server::{Asked, Does, Server, chat};
use crate::kit::Kit;
use crate::{Say, Secret, StepError};

const KEY: &str = "sk-tell-nobody";

fn kit(kind: &str, server: &Server) -> Kit {
    let mut kit = Kit::new(kind);
    let endpoint = Endpoint {
        url: server.url.clone(),
        model: "yi".to_owned(),
        key_env: Some("KUN_TEST_KEY".to_owned()),
        concurrency: 3,
        requests_per_minute: None,
        retries: 6,
        timeout: Duration::from_millis(500),
    };
    let key = Some(Secret::new(KEY.to_owned()));
    kit.servers.insert("model".to_owned(), crate::Server { endpoint, key, authorities: None });
    kit.seed = Some(11);
    kit
}

fn run(kit: &mut Kit, with: &str, data: &str) -> Result<Vec<String>, StepError> {
    let file = kit.folder.path().join("records");
    std::fs::write(&file, data).unwrap();
    kit.run_at(with, &[("data", vec![file])])
}

fn records(n: usize) -> String {
    (0..n).map(|it| format!("{{\"id\":{it},\"prompt\":\"question {it}\"}}\n")).collect()
}

fn values(text: &str) -> Vec<Value> {
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

fn answers(_: usize, asked: &Asked) -> Does {
    Does::Answers(chat(&format!("to {}", asked.said())))
}

fn notes(kit: &Kit) -> String {
    let note = |it: &Say| if let Say::Note(it) = it { Some(it.clone()) } else { None };
    kit.said.iter().filter_map(note).collect::<Vec<_>>().join("; ")
}

#[test]
fn answers_go_out_in_order_and_the_question_is_whole() {
    let server = Server::start(answers);
    let mut kit = kit("generate", &server);
    let with = "max_new_tokens = 9\ntemperature = 0.5\ntop_p = 0.95\ntop_k = 4\nstop = ['#']\n\
                repetition_penalty = 1.2\nsamples = 2";
    let out = values(&run(&mut kit, with, &records(20)).unwrap()[0]);
    for (i, it) in out.iter().enumerate() {
        let text = format!("to question {i}");
        assert_eq!((&it["id"], &it["generated"]), (&json!(i), &json!([text, text])));
        assert_eq!(it["generated_tokens"], json!([3, 3]));
        assert_eq!(it["generated_logprob"], json!([-0.75, -0.75]));
    }
    assert_eq!((kit.count("tokens"), kit.count("prompt_tokens")), (Some(120), Some(280)));
    assert_eq!((kit.count("stopped"), server.n_asked()), (Some(40), 40));
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|it| it.path == "/v1/chat/completions"));
    assert!(asked.iter().all(|it| it.authorization == Some(format!("Bearer {KEY}"))));
    let seeds: std::collections::BTreeSet<u64> =
        asked.iter().map(|it| it.body["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 40);
    let mut body = asked.iter().find(|it| it.said() == "question 0").unwrap().body.clone();
    body["seed"] = 0.into();
    insta::assert_snapshot!(body, @r##"{"model":"yi","messages":[{"role":"user","content":"question 0"}],"max_tokens":9,"temperature":0.5,"top_p":0.95,"logprobs":true,"stream":false,"stop":["#"],"top_k":4,"repetition_penalty":1.2,"seed":0}"##);
    assert!(notes(&kit).contains("`top_k`, `repetition_penalty` went along, which not every"));
}

#[test]
fn what_may_pass_is_tried_again() {
    let server = Server::start(|n, asked| match n {
        0 => Does::Says(429, "retry-after: 0.05\r\n", "{}".to_owned()),
        1 => Does::Says(500, "", "<html>".to_owned()),
        2 => Does::Says(200, "", "no json".to_owned()),
        3 => Does::Says(200, "", "{\"choices\":[]}".to_owned()),
        4 => Does::Half,
        5 => Does::Hangs,
        6 => Does::Goes,
        _ => answers(n, asked),
    });
    let mut kit = kit("generate", &server);
    let out = run(&mut kit, "max_new_tokens = 9", &records(10)).unwrap();
    assert_eq!(values(&out[0])[9]["generated"], "to question 9");
    // A connection that goes is also tried again by the client itself.
    assert!((17..=18).contains(&server.n_asked()), "{}", server.n_asked());
    assert!(notes(&kit).contains("7 of them again"), "{}", notes(&kit));
}

#[test]
fn a_server_that_never_answers_is_given_up_with_a_reason_and_what_is_known_is_kept() {
    let server = Server::start(|n, asked| match asked.said() {
        "question 4" => Does::Says(503, "", "{\"error\":{\"message\":\"no room\"}}".to_owned()),
        _ => answers(n, asked),
    });
    let mut kit = kit("generate", &server);
    kit.servers.get_mut("model").unwrap().endpoint.retries = 2;
    let error = run(&mut kit, "max_new_tokens = 9", &records(8)).unwrap_err().to_string();
    let error = error.replace(&server.url, "URL");
    assert_eq!(
        error,
        "`URL` was asked 3 times; the last time it answered with status 503: no room"
    );
    assert!(kit.memo.0.len() >= 4, "{}", kit.memo.0.len());
    let long = Server::start(|_, _| Does::Says(429, "retry-after: 7200\r\n", "{}".to_owned()));
    let error = run(&mut self::kit("generate", &long), "max_new_tokens = 9", &records(1));
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("429, and wants to be left alone for 7200 s"), "{error}");
    assert_eq!(long.n_asked(), 1);
}

#[test]
fn a_key_that_is_refused_is_not_shown_and_not_sent_again() {
    let server = Server::start(|_, asked| {
        let key = asked.authorization.clone().unwrap();
        Does::Says(401, "", json!({ "error": { "message": format!("bad {key}") } }).to_string())
    });
    let mut kit = kit("generate", &server);
    kit.servers.get_mut("model").unwrap().endpoint.concurrency = 1;
    let error = run(&mut kit, "max_new_tokens = 9", &records(1)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(KEY));
    let said = "answered with status 401: bad Bearer … (its key is `KUN_TEST_KEY`)";
    assert!(error.to_string().ends_with(said), "{error}");
    assert_eq!(server.n_asked(), 1);
    assert!(!format!("{:?}", kit.servers).contains(KEY));
}

#[test]
fn a_step_that_is_stopped_asks_only_what_is_missing() {
    let server = Server::start(answers);
    let mut kit = kit("generate", &server);
    kit.stop_after = 60;
    let stopped = run(&mut kit, "max_new_tokens = 9", &records(50));
    assert!(matches!(stopped, Err(StepError::Stopped)));
    let n_kept = kit.memo.0.len();
    assert!((1..50).contains(&n_kept), "{n_kept}");
    assert_eq!(server.n_asked(), n_kept);
    kit.stop_after = usize::MAX;
    let out = run(&mut kit, "max_new_tokens = 9", &records(50)).unwrap();
    assert_eq!((server.n_asked(), out[0].lines().count()), (50, 50));
    run(&mut kit, "max_new_tokens = 9", &records(53)).unwrap();
    assert_eq!(server.n_asked(), 53);
}

#[test]
fn a_server_without_log_probabilities_is_asked_without() {
    let server = Server::start(|_, asked| {
        if asked.body.get("logprobs").is_some() {
            let said = json!({ "detail": "unknown field `logprobs`" });
            return Does::Says(422, "", said.to_string());
        }
        let mut answer = chat("an instruction");
        answer["choices"][0]["logprobs"] = Value::Null;
        Does::Answers(answer)
    });
    let mut kit = kit("label", &server);
    let with = "columns = { output = 'prompt' }\nrepetition_penalty = 1.0";
    let out = values(&run(&mut kit, with, &records(1)).unwrap()[0]);
    assert_eq!(out[0]["instruction"], "an instruction");
    assert_eq!(
        (&out[0]["instruction_ppl"], &out[0]["instruction_tokens"]),
        (&Value::Null, &json!(3))
    );
    let full = Server::start(answers);
    let out = values(&run(&mut self::kit("label", &full), with, &records(1)).unwrap()[0]);
    let ppl = out[0]["instruction_ppl"].as_f64().unwrap();
    assert!((ppl - 0.375_f64.exp()).abs() < 1e-12, "{ppl}");
}

#[test]
fn what_is_the_servers_matter_is_refused() {
    let server = Server::start(answers);
    let error = |kind: &str, with: &str| {
        run(&mut kit(kind, &server), with, &records(1)).unwrap_err().to_string()
    };
    for (with, name) in [("template = 'kun'", "template"), ("max_seq_len = 9", "max_seq_len")] {
        let said = format!("`{name}` is the server's matter where the model is an endpoint");
        assert!(error("answer", with).ends_with(&said));
    }
    assert!(error("refine", "").ends_with("`budget` must be 0"));
    let choices = "choices = ['yes', 'no']";
    assert!(error("judge", choices).contains("`template` must name the built-in template"));
    assert_eq!(server.n_asked(), 0);
}

/// Letters are tokens; each is the less probable the further it stands in the alphabet.
fn letters(asked: &Asked) -> Value {
    let text = asked.body["prompt"].as_str().unwrap();
    let tokens: Vec<String> = text.chars().chain(['!']).map(String::from).collect();
    let value = |(i, it): (usize, char)| match i {
        0 => Value::Null,
        _ => json!(-f64::from(it as u32 % 32) / 16.0),
    };
    let values: Vec<Value> = text.chars().chain(['!']).enumerate().map(value).collect();
    json!({
        "choices": [{
            "text": format!("{text}!"),
            "logprobs": { "tokens": tokens, "token_logprobs": values },
        }],
        "usage": { "prompt_tokens": tokens.len() - 1, "completion_tokens": 1 },
    })
}

#[test]
fn choices_of_several_tokens_are_weighed_whole() {
    let server = Server::start(|_, asked| Does::Answers(letters(asked)));
    let mut kit = kit("judge", &server);
    let with = "choices = ['bad', 'bag', 'no']\nkeep = ['bag']\ntemplate = 'kun'\nend = false";
    let out = run(&mut kit, with, &records(3)).unwrap();
    assert_eq!((out[0].as_str(), out[1].lines().count()), ("", 3));
    // b 2, a 1, d 4, g 7, n 14, o 15: in sixteenths.
    let weights = [7.0, 10.0, 29.0].map(|it: f64| (-it / 16.0).exp());
    let p = weights[1] / weights.iter().sum::<f64>();
    let found = values(&out[1])[0]["values"]["judge"].as_f64().unwrap();
    assert!((found - p).abs() < 1e-6, "{found} {p}");
    assert_eq!(server.n_asked(), 12);
    // Another threshold is asked of what is kept.
    kit.said.clear();
    let ended = "choices = ['bad', 'bag', 'no']\ntemplate = 'kun'";
    let all = values(&run(&mut self::kit("judge", &server), ended, &records(1)).unwrap()[0]);
    assert_eq!(all[0]["judge"], "bad");
    let asked = server.asked.lock().unwrap();
    let text = asked.last().unwrap().body["prompt"].as_str().unwrap();
    assert!(text.ends_with("no<|im_end|>"), "{text}");
}

#[test]
fn a_server_that_cannot_weigh_says_so_and_what_it_writes_can_be_read() {
    let server = Server::start(|n, asked| match asked.path.as_str() {
        "/v1/completions" => Does::Says(404, "", "{\"detail\":\"Not Found\"}".to_owned()),
        _ if asked.said() == "question 1" => Does::Answers(chat("that is bad")),
        _ if asked.said() == "question 2" => Does::Answers(chat("hm")),
        _ => answers(
            n,
            &Asked { body: json!({ "messages": [{ "content": "good" }] }), ..asked.clone() },
        ),
    });
    let with = "choices = ['good', 'bad']\nkeep = ['good']";
    let choices = format!("{with}\ntemplate = 'kun'");
    let error = run(&mut kit("judge", &server), &choices, &records(1)).unwrap_err().to_string();
    assert_eq!(
        error.replace(&server.url, "URL"),
        "`URL` gives no log-probabilities of a text: it answered with status 404: Not Found; \
         what such a model writes can be read instead, by `judge` with `mode = \"text\"`"
    );
    let mut kit = kit("judge", &server);
    let out = run(&mut kit, &format!("{with}\nmode = 'text'"), &records(3)).unwrap();
    insta::assert_snapshot!(out[0], @r#"{"id":0,"prompt":"question 0","judge":"good","judge_text":"to good"}"#);
    assert_eq!(values(&out[1])[1]["fails"], json!(["judge"]));
    assert_eq!((kit.count("unclear"), kit.count("overlong")), (Some(1), Some(0)));
    let deaf = Server::start(|_, asked| {
        let mut reply = letters(asked);
        reply["choices"][0]["logprobs"] = Value::Null;
        Does::Answers(reply)
    });
    let error = run(
        &mut self::kit("classify", &deaf),
        "labels = ['a', 'b']\ntemplate = 'kun'",
        &records(1),
    );
    assert!(error.unwrap_err().to_string().contains("answered without those of the question"));
}

#[test]
fn a_question_that_is_too_long_for_the_server_is_left_out_where_that_is_wanted() {
    let server = Server::start(|n, asked| match asked.said() {
        "question 1" => {
            let said = "This model's maximum context length is 8 tokens";
            Does::Says(400, "", json!({ "error": { "message": said } }).to_string())
        }
        _ => answers(n, asked),
    });
    let with = "max_new_tokens = 9";
    let error = run(&mut kit("generate", &server), with, &records(2)).unwrap_err().to_string();
    assert!(
        error.ends_with("status 400: This model's maximum context length is 8 tokens"),
        "{error}"
    );
    let with = format!("{with}\non_overlong = 'skip'");
    let mut kit = kit("generate", &server);
    let out = values(&run(&mut kit, &with, &records(2)).unwrap()[0]);
    assert_eq!(out[1]["generated_finish_reason"], "overlong");
    assert_eq!(kit.count("overlong"), Some(1));
}

#[test]
fn a_text_that_is_no_key_is_not_sent() {
    let server = Server::start(answers);
    for text in ["", "two words", "line\nfeed"] {
        let mut kit = kit("generate", &server);
        kit.servers.get_mut("model").unwrap().key = Some(Secret::new(text.to_owned()));
        let error = run(&mut kit, "max_new_tokens = 9", &records(1)).unwrap_err().to_string();
        assert!(error.ends_with("what `KUN_TEST_KEY` holds cannot be sent as a key"), "{error}");
    }
    assert_eq!(server.n_asked(), 0);
}

#[test]
fn several_answers_of_a_server_vote_for_a_category() {
    let server = Server::start(|_, asked| {
        let said = asked.said();
        assert!(said.contains("法学、医学："), "{said}");
        Does::Answers(chat(if said.contains("question 1") {
            "不知道"
        } else {
            "类别：医学。"
        }))
    });
    let mut kit = kit("categories", &server);
    let put = |name: &str, text: &str| {
        let path = kit.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        vec![path]
    };
    let prompt = "{#\nid: c\ninputs: prompt, labels\n#}\n{{ labels | join('、') }}：{{ prompt }}";
    let inputs = [
        ("data", put("records", &records(2))),
        ("prompt", put("prompt", prompt)),
        ("labels", put("labels", "法学\n医学\n")),
    ];
    let out = values(&kit.run_at("samples = 3", &inputs).unwrap()[0]);
    assert_eq!((&out[0]["category"], &out[0]["category_votes"]), (&json!("医学"), &json!(3)));
    assert_eq!((&out[1]["category"], &out[1]["category_votes"]), (&Value::Null, &json!(0)));
    assert_eq!(out[0]["category_answer"], json!(vec!["类别：医学。"; 3]));
}

#[test]
fn a_count_of_tokens_that_is_none_is_refused_by_name() {
    let mut reply = chat("yes");
    for wrong in [json!(-5), json!(1.5), json!("12"), json!([])] {
        reply["usage"]["completion_tokens"] = wrong.clone();
        let error = super::read(&reply).unwrap_err();
        let want = format!(
            "answered with `usage.completion_tokens` = {wrong}, which is no count of tokens"
        );
        assert_eq!(error, want);
    }
    reply["usage"] = Value::Null;
    let answer = super::read(&reply).unwrap();
    assert_eq!((answer.prompt_tokens, answer.tokens), (0, 2), "what it leaves out is no mistake");
}

fn client(server: crate::Server) -> Arc<Client> {
    Arc::new(Client::new(server).unwrap())
}

#[test]
fn large_replies_are_read_one_at_a_time_and_small_ones_do_not_wait() {
    let server = Server::start(|_, asked| {
        let n = if asked.said() == "large" { 2 << 20 } else { 10 };
        Does::Answers(chat(&"x".repeat(n)))
    });
    let mut kit = kit("generate", &server);
    let mut given = kit.servers.remove("model").unwrap();
    given.endpoint.timeout = Duration::from_secs(60);
    let client = client(given);
    let ask = |client: &Client, text: &str| {
        let body = json!({ "messages": [{ "role": "user", "content": text }] });
        client.ask("chat/completions", &body, &super::read).unwrap().text.len()
    };
    let turn = client.large.lock().unwrap();
    let other = Arc::clone(&client);
    let large = std::thread::spawn(move || ask(&other, "large"));
    assert_eq!(ask(&client, "small"), 10);
    assert!(!large.is_finished(), "it waits for its turn");
    drop(turn);
    assert_eq!(large.join().unwrap(), 2 << 20);
}

#[test]
fn a_certificate_that_is_not_trusted_is_said_once_with_the_fix() {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], private)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = connection.complete_io(&mut stream.unwrap());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("own.pem");
    std::fs::write(&authorities, own.pem()).unwrap();
    let plain = Server::start(answers);
    let mut given = kit("generate", &plain).servers.remove("model").unwrap();
    given.endpoint.url = format!("https://localhost:{}/v1", address.port());
    given.authorities = Some(authorities);
    let refused = client(given).ask("chat/completions", &json!({}), &super::read).unwrap_err();
    let Refusal::Never(reason) = refused else { panic!("{refused:?}") };
    assert!(reason.starts_with("shows the certificate of an authority (CA:TRUE)"), "{reason}");
    assert!(reason.contains("it needs one with CA:FALSE"), "{reason}");
    assert_eq!(reached.load(Ordering::SeqCst), 1, "asked again for nothing");
}

#[test]
fn a_key_that_a_server_repeats_is_kept_nowhere() {
    let server = Server::start(|_, asked| {
        let mut reply = chat(&format!("your key is {KEY}, {KEY}"));
        reply["choices"][0]["finish_reason"] = json!(format!("stop {KEY}"));
        reply[KEY] = json!({ "tool": [asked.authorization] });
        // Written with an escape, it is the same text.
        Does::Says(200, "", reply.to_string().replace("sk-tell", "sk\\u002dtell"))
    });
    let mut kit = kit("generate", &server);
    let out = run(&mut kit, "max_new_tokens = 9", &records(3)).unwrap();
    for it in values(&out[0]) {
        assert_eq!(
            (&it["generated"], &it["generated_finish_reason"]),
            (&json!("your key is …, …"), &json!("stop …"))
        );
    }
    assert!(
        notes(&kit).contains("; 3 replies repeated the endpoint's key, kept as `…`"),
        "{}",
        notes(&kit)
    );
    assert_eq!(kit.memo.0.len(), 3);
    for kept in kit.memo.0.values() {
        assert!(!String::from_utf8_lossy(kept).contains("tell-nobody"));
    }
    assert!(!format!("{:?} {out:?}", kit.said).contains("tell-nobody"));

    // A word that stands for no key is a word.
    let server = Server::start(|_, _| Does::Answers(chat("the list is EMPTY")));
    let mut kit = self::kit("generate", &server);
    kit.servers.get_mut("model").unwrap().key = Some(Secret::new("EMPTY".to_owned()));
    let out = run(&mut kit, "max_new_tokens = 9", &records(1)).unwrap();
    assert_eq!(values(&out[0])[0]["generated"], "the list is EMPTY");
}
