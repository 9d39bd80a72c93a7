//! `kun generate`: one answer of a model, as it comes.

use std::io::Read as _;
use std::path::PathBuf;

use steps::model::{Answers, Chat, Conversation, How, ModelFolder, Sampling};

use crate::args::Answer;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::trouble::Trouble;

/// Ask a model once; the answer is written as it comes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model's folder
    model: PathBuf,
    /// What the model is asked (default: standard input)
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    #[command(flatten)]
    how: Sampled,
    #[command(flatten)]
    answer: Answer,
}

/// How a model answers on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Sampled {
    /// The system message
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The chat template: `yi-chatml`, or `plain` for a base model (default: the model's own)
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// The longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_new_tokens: usize,
    /// How freely tokens are picked; 0 always takes the likeliest
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Only the likeliest tokens, this many; 0 is all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Only the likeliest tokens that have this much probability together
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Only tokens at least this likely, measured by the likeliest
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f32,
    /// How much less likely a token becomes that occurred already
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// The seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A text that ends the answer (may be repeated)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// The longest prompt and answer together
    #[arg(long, value_name = "N", default_value_t = 4096)]
    max_seq_len: usize,
}

/// A model that is ready to answer.
pub(crate) struct Ready<'a> {
    pub(crate) folder: &'a ModelFolder,
    pub(crate) template: &'a steps::model::Template,
    pub(crate) answers: Answers<'a>,
}

impl Ready<'_> {
    /// One answer, written as it comes.
    pub(crate) fn tell(
        &mut self,
        conversation: &Conversation,
        see: &mut dyn FnMut(&str),
    ) -> Result<steps::model::Answer, Trouble> {
        let chat = Chat { tokenizer: &self.folder.tokenizer, template: self.template };
        let prompt = chat.prompt(conversation).map_err(|it| Trouble::model(&it))?;
        self.answers.tell(0, prompt, see, &|| true).map_err(|it| Trouble::model(&it))
    }
}

impl Sampled {
    /// Loads the model and hands it over.
    pub(crate) fn with<T>(
        &self,
        model: &std::path::Path,
        work: impl FnOnce(Ready<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let folder = ModelFolder::open(model).map_err(|it| Trouble::model(&it))?;
        let template = folder.template(self.template.as_deref());
        let template = template.map_err(|it| Trouble::model(&it))?;
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
        };
        let mut how = How::greedy(self.max_new_tokens, folder.stop_ids(&template));
        (how.sampling, how.seed, how.stop_texts) = (sampling, self.seed, self.stop.clone());
        let context = steps::model::context(&folder.config, Some(self.max_seq_len));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let device = steps::processor(threads);
        let answers = device.and_then(|it| Answers::load(&folder, how, it, context, 1));
        let answers = answers.map_err(|it| Trouble::model(&it))?;
        work(Ready { folder: &folder, template: &template, answers })
    }
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let prompt = match args.prompt {
        Some(it) => it,
        None => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|it| Trouble::io(std::path::Path::new("standard input"), it))?;
            text.strip_suffix('\n').unwrap_or(&text).to_owned()
        }
    };
    let conversation = Conversation::pair(args.how.system.as_deref(), &prompt, None);
    let json = args.answer.json;
    let answer = args.how.with(&args.model, |mut ready| {
        ready.tell(&conversation, &mut |text| {
            if !json {
                printer.piece(text);
            }
        })
    })?;
    if json {
        printer.json(&answer);
    } else {
        printer.piece("\n");
        printer.say(format_args!("{}: {} tokens", answer.finish_reason, answer.tokens));
    }
    Ok(Exit::Good)
}
