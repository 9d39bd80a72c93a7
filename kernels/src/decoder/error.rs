//! What can be wrong with a model folder.

use std::io;
use std::path::PathBuf;

/// The result of reading or writing a model folder.
pub type Result<T> = std::result::Result<T, Error>;

/// An error from a model folder: which file, which field or tensor, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("`{path}` cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not the JSON that it should be.
    #[error("`{path}` is not valid: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A field of a JSON file cannot be used.
    #[error("`{path}`: `{field}` {reason}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it, as the end of the sentence.
        reason: String,
    },
    /// A folder holds no weights that are read here.
    #[error("`{folder}` has neither `model.safetensors` nor `model.safetensors.index.json`")]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder holds its weights in Python's own form, which can run code when it is read.
    #[error("`{path}` holds weights as a Python pickle, and only safetensors are read")]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// A file of weights has a header that cannot be true.
    #[error("`{path}`: {fault}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// A tensor cannot be used.
    #[error("`{path}`: tensor `{tensor}` {fault}")]
    Tensor {
        /// The file that holds it, or should.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// What is wrong, as the end of the sentence.
        fault: TensorFault,
    },
    /// The device refused.
    #[error(transparent)]
    Device(#[from] crate::Error),
    /// A caller asked for something that the model does not have.
    #[error("{0}")]
    Ask(String),
}

impl Error {
    /// What can be done about it, where that is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Error::Pickle { .. } => Some(
                "load the folder with `transformers` and save it again: \
                 `AutoModelForCausalLM.from_pretrained(IN).save_pretrained(OUT)`",
            ),
            Error::Field { field, .. } if field == "rope_theta" => Some(
                "take the value from the model's first `config.json`; newer files hold it as \
                 `rope_parameters.rope_theta`",
            ),
            _ => None,
        }
    }
}

/// What is wrong with the header of a file of weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The file ends before its header does.
    #[error("the file has {got} bytes, and its header says that it has at least {want}")]
    Truncated {
        /// Bytes that there are.
        got: u64,
        /// Bytes that there should be.
        want: u64,
    },
    /// The header is larger than any honest one.
    #[error("the header is said to have {bytes} bytes, more than {most}")]
    Large {
        /// Its size.
        bytes: u64,
        /// The largest that is read.
        most: u64,
    },
    /// The header is not the JSON that it should be.
    #[error("the header is not valid: {0}")]
    Json(String),
    /// Bytes of the file belong to no tensor.
    #[error("bytes {start} to {end} belong to no tensor")]
    Hole {
        /// First byte, counted from the end of the header.
        start: u64,
        /// One past the last.
        end: u64,
    },
}

/// What is wrong with a tensor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TensorFault {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// The index names a file that is not there.
    #[error("should be in `{file}`, which is missing")]
    MissingShard {
        /// The file's name.
        file: String,
    },
    /// The model has no place for it.
    #[error("has no place in the model")]
    Unknown,
    /// The configuration says that it is the embedding, and it is not. Programs differ in what they
    /// take then: the embedding (`transformers` 4), or this tensor (`transformers` 5).
    #[error(
        "differs from `{embedding}`, and `config.json` says `tie_word_embeddings: true`: say false \
         there to use this tensor, or take it out of the file to use the embedding"
    )]
    NotTied {
        /// The embedding's name.
        embedding: &'static str,
    },
    /// Two files hold it.
    #[error("is in `{other}` as well")]
    Twice {
        /// The other file.
        other: PathBuf,
    },
    /// Its shape is not that of the configuration.
    #[error("has shape {got:?}, and the configuration asks for {want:?}")]
    Shape {
        /// Its shape.
        got: Vec<u64>,
        /// The configuration's.
        want: Vec<u64>,
    },
    /// Its numbers are of a kind that is not read.
    #[error("has dtype `{got}`, which is none of F32, BF16, F16")]
    Dtype {
        /// The name of the kind.
        got: String,
    },
    /// Its place in the file does not have the size of its shape, or lies outside.
    #[error("lies at bytes {start} to {end} of {len}, and its shape asks for {want} bytes")]
    Place {
        /// First byte, counted from the end of the header.
        start: u64,
        /// One past the last.
        end: u64,
        /// How many bytes the file has.
        len: u64,
        /// How many bytes the shape asks for.
        want: u64,
    },
    /// It shares bytes with another tensor.
    #[error("shares bytes with `{other}`")]
    Overlap {
        /// The other tensor.
        other: String,
    },
    /// One of its numbers is not finite.
    #[error("has {value} at index {index}")]
    NotFinite {
        /// Which number, counted in rows.
        index: usize,
        /// The number.
        value: f32,
    },
}
