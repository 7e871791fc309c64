/** Made by `npm run client:types` from the OpenAPI document; do not edit. */

/** Response from uploading an asset via POST /v3/assets. */
export type UploadAssetV3Response = {
  /** Unique asset identifier */
  asset_id: string
  /** Public URL of the uploaded asset */
  url: string
  /** Detected MIME type of the file */
  mime_type: string
  /** File size in bytes */
  size_bytes: number
}

export type CreateAssetUploadRequest = {
  /** Its name, to show */
  filename: string
  /** Its MIME type, such as video/mp4; the bytes have to be of it */
  content_type: string
  /** Its exact size */
  size_bytes: number
  /** SHA-256 of the file in hex; base64 is taken too */
  checksum_sha256?: string | null
}

export type CreateAssetUploadResponse = {
  /** The asset that it becomes once it is completed */
  asset_id: string
  /** Where to put the bytes */
  upload_url: string
  /** Headers to send with the bytes, as they are */
  upload_headers: Record<string, string>
  /** How long the URL can be used */
  expires_in_seconds: number
  /** How large a direct upload may be */
  max_bytes: number
  /** How it stands */
  status: 'pending_upload'
}

export type CompleteAssetUploadRequest = {
  /** SHA-256 of the file in hex; base64 is taken too */
  checksum_sha256?: string | null
}

export type CompleteAssetUploadResponse = {
  /** The asset */
  asset_id: string
  /** Its public URL */
  url: string
  /** Its type, as the bytes have it */
  mime_type: string
  /** Its size */
  size_bytes: number
  /** It is verified */
  status: 'completed'
}

export type PutAssetBytesResponse = {
  /** The upload */
  asset_id: string
  /** How many bytes are stored */
  size_bytes: number
  /** It is still to be completed */
  status: 'pending_upload'
}

export type CreateAssetUploadBatchRequest = {
  files: CreateAssetUploadRequest[]
  /** A name for the batch, to show */
  title?: string | null
  /** Reserved: nothing is sent to it yet */
  callback_url?: string | null
}

export type CreateAssetUploadBatchResponse = {
  /** The batch */
  batch_id: string
  items: {
    /** Its place in `files` */
    item_index: number
    /** The asset that it becomes once it is completed */
    asset_id: string
    /** Where to put the bytes */
    upload_url: string
    /** Headers to send with the bytes, as they are */
    upload_headers: Record<string, string>
    /** How long the URL can be used */
    expires_in_seconds: number
    /** How large a direct upload may be */
    max_bytes: number
    /** How it stands */
    status: 'pending_upload'
  }[]
}

export type CompleteAssetUploadBatchRequest = {
  /** The batch */
  batch_id: string
}

export type CompleteAssetUploadBatchResponse = {
  /** The batch */
  batch_id: string
  /** How the batch stands */
  status: 'processing' | 'completed' | 'failed'
}

export type AssetBatch = {
  /** The batch */
  batch_id: string
  /** Its name */
  title: string | null
  /** How the batch stands */
  status: 'processing' | 'completed' | 'failed'
  /** How many items it has */
  total_items: number
  counts_by_status: {
    /** How many are pending_upload */
    pending_upload: number
    /** How many are processing */
    processing: number
    /** How many are completed */
    completed: number
    /** How many are failed */
    failed: number
  }
  /** When it was made, in unix seconds */
  created_at: number
  items: AssetBatchItem[]
  /** Whether more items are available */
  has_more: boolean
  /** Opaque cursor for the next page of items */
  next_token: string | null
}

export type AssetBatchItem = {
  /** Its place in the batch */
  item_index: number
  /** How it stands */
  status: 'pending_upload' | 'processing' | 'completed' | 'failed'
  /** The id of the asset */
  video_id: string
  /** Why it failed; null where it did not */
  error: StandardAPIError | null
}

export type AssetStatus = {
  /** The id of the asset; null for a batch that is not found */
  video_id: string | null
  /** How it stands */
  status: 'pending_upload' | 'processing' | 'completed' | 'failed' | 'not_found'
  /** The batch that it is an item of */
  batch_id: string | null
  /** Its place there */
  item_index: number | null
  /** Why it failed; null where it did not */
  error: StandardAPIError | null
}

export type Asset = {
  /** The asset */
  id: string
  /** Its name, as it was uploaded */
  name: string
  /** What it is */
  type: 'image' | 'video' | 'audio' | 'document'
  /** Who uploaded it */
  owner: string
  /** The workspace that it is in */
  space_id: string
  /** When it was uploaded, in unix seconds */
  uploaded_at: number
  /** The folder that it is in; null: the root */
  folder_id: string | null
  /** Its public URL */
  url: string
  /** Its type, as the bytes have it */
  mime_type: string
  /** Its size */
  size_bytes: number
  /** In pixels, where its header tells */
  width: number | null
  /** In pixels, where its header tells */
  height: number | null
}

export type FoundAsset = {
  /** What it is */
  type: 'image'
  /** The asset */
  id: string
  /** Its public URL */
  url: string
  /** In pixels, where its header tells */
  width: number | null
  /** In pixels, where its header tells */
  height: number | null
  /** Null where it is not known */
  orientation: 'landscape' | 'portrait' | 'square' | null
  /** Null where it is not known */
  is_transparent: boolean | null
}

export type DeleteAssetResponse = {
  /** What was deleted */
  id: string
}

export type CurrentUser = {
  /** The owner, as assets name it */
  username: string
  /** Not known here */
  email: string | null
  /** Not known here */
  first_name: string | null
  /** Not known here */
  last_name: string | null
}

export type ResolveAssetsRequest = {
  inputs: AssetInput[]
}

export type AssetInput =
  | {
      type: 'asset_id'
      /** An asset of this workspace */
      asset_id: string
    }
  | {
      type: 'url'
      /** Where the file is: https, public */
      url: string
    }
  | {
      type: 'base64'
      /** What the file is; its bytes must agree */
      media_type: string
      /** The file, in base64 with padding */
      data: string
    }

/** Either an asset or an error; the other one is null */
export type ResolvedInput = {
  /** Its place in `inputs` */
  input_index: number
  asset: UploadAssetV3Response | null
  error: StandardAPIError | null
}

export type StandardAPIError = {
  /** Machine-readable error code */
  code:
    | 'invalid_parameter'
    | 'authentication_failed'
    | 'forbidden'
    | 'asset_not_found'
    | 'batch_not_found'
    | 'resource_not_found'
    | 'method_not_allowed'
    | 'request_timeout'
    | 'request_in_progress'
    | 'conflict'
    | 'invalid_request'
    | 'rate_limit_exceeded'
    | 'internal_error'
    | 'service_unavailable'
  /** Human-readable error message */
  message: string
  /** Which request field caused the error */
  param: string | null
  /** Link to error documentation */
  doc_url: string | null
  /** Machine-readable facts beside the message */
  details?: {
    reason?:
      | 'missing_file'
      | 'empty_file'
      | 'file_too_large'
      | 'unsupported_type'
      | 'corrupt_file'
      | 'malformed_multipart'
      | 'multiple_files'
      | 'too_many_parts'
      | 'fields_too_large'
      | 'missing_value'
      | 'invalid_value'
      | 'size_mismatch'
      | 'type_mismatch'
      | 'checksum_mismatch'
      | 'malformed_request'
  } & Record<string, unknown>
}
