//! Saves adapters alone, as PEFT does: `adapter_config.json` and `adapter_model.safetensors`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use super::error::{Error, Result};
use super::trainer::Trainer;
use crate::Device;
use crate::decoder::WeightDtype;
use crate::decoder::save::{header, sync, write_file};
use crate::device::View;

impl<D: Device> Trainer<'_, D> {
    /// Saves the adapters as a folder, which must not be there. `base` is the name or path of the
    /// model that they belong to.
    pub fn save_adapters(&self, folder: &Path, base: &str) -> Result<()> {
        let Some((lora, layout)) = self.state.model.lora() else {
            let reason = "is not set: there are no adapters to save".to_owned();
            return Err(Error::Setting { field: "lora", reason });
        };
        let mut targets: Vec<_> = lora.targets.iter().map(|it| it.module()).collect();
        targets.sort_unstable();
        targets.dedup();
        let config = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "target_modules": targets,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
        });
        let all: Vec<f32> = self.device.read(View::all(self.state.model.trained()))?;
        let mut tensors = Vec::new();
        for it in layout.adapters() {
            let module = it.name.strip_suffix(".weight").unwrap_or(&it.name);
            let name = |part: &str| format!("base_model.model.{module}.lora_{part}.weight");
            tensors.push((name("A"), [it.rank, it.inputs], it.a_range()));
            tensors.push((name("B"), [it.outputs, it.rank], it.b_range()));
        }
        let shapes = tensors.iter().map(|it| (it.0.as_str(), it.1.as_slice()));
        let mut bytes = header(shapes, WeightDtype::F32);
        for (_, _, range) in &tensors {
            bytes.extend(all[range.clone()].iter().flat_map(|it| it.to_le_bytes()));
        }
        let partial = crate::decoder::save::beside(folder)?;
        let write = |source| Error::Write { path: folder.to_owned(), source };
        match fs::remove_dir_all(&partial) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(write(why)),
            _ => fs::create_dir_all(&partial).map_err(write)?,
        }
        write_file(&partial.join("adapter_config.json"), format!("{config:#}\n").as_bytes())?;
        write_file(&partial.join("adapter_model.safetensors"), &bytes)?;
        sync(&partial)?;
        fs::rename(&partial, folder).map_err(write)
    }
}
